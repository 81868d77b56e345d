"""What a run found, for people: in a terminal, as Markdown, and as one HTML file."""
