"""Pages that a person opens in a browser: one HTML file, nothing from elsewhere, no script.

In: figures. Out: HTML, for light and dark screens and for paper. Open `parts` first; `svg` draws.
"""
