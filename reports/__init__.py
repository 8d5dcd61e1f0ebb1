"""Turn the tables of a report into one self-contained HTML page.

tables        the data frames of a report
schemas       the columns of these tables
report_data   the tables joined into runs, hospitals and estimates
formatting    numbers as text
sentences     sentences made from numbers; a sentence states an effect only if the effect is clear (see `verdicts`)
summaries     tables summarized into rows and sentences of one section
drawing       figures as inline SVG
sections      one function per section of the page
html          templates, style sheets and scripts
page          the page as one HTML text
site          a folder with the page, one page per run, and the data
"""
