"""The page of a report: facts read from artifacts, put into sections, written as one HTML file."""
