"""Figures: inline SVG and plotly charts."""
