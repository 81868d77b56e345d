"""Renders the results of a run for the terminal, as Markdown, HTML and JUnit XML."""
