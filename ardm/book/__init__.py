"""The tools of the book: runs of notebooks, parameters, stated numbers, figures, widgets."""
