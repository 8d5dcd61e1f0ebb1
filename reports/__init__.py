"""Published tables in, one self-contained HTML page out.

tables      the named data frames that a page is made of
board       those tables, joined once into the runs, hospitals and estimates that a reader meets
text        a number as a reader meets it
sentences   numbers to sentences; the verb follows the interval
svg         marks, axes and in-cell figures, as text
charts      what plotly draws, as plain data
sections    one function from a board to one section of the page, each
page        the whole page, its policy and its scripts
"""
