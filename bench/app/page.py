"""What streamlit runs anew after each change of the page."""

from bench.app.view import show

show()
