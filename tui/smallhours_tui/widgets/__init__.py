"""Widgets of our own: a table, a curve plot, lanes of slots, and bars made of text.

They draw lines themselves (Textual's line API) and paint only lines that look different from
before. Style names are looked up in the app's ``style_map``; texts are made inert on the way.
"""
