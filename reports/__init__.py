"""Turn the tables of a report into one self-contained HTML page.

tables        the data frames of a report
report_data   the tables joined into runs, hospitals and estimates
formatting    numbers as text
sentences     sentences made from numbers; they state an effect only if it is clear (see `verdicts`)
summaries     tables summarized into rows and sentences of one section
drawing       inline SVG figures and plotly charts
sections      one function per section of the page
page, site    the page, and a folder with one page per run
cohort_page   the page of `bench data stats`
"""
