"""The script that streamlit runs again after each change of the page."""

from bench.extensions.app.view import show

show()
