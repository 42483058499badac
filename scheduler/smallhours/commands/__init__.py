"""The verbs of the command line, one function each; `cli` reads the arguments."""
