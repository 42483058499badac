"""What proposes configurations: a module for each way to search, behind `smallhours.search`."""
