"""Published tables in, one self-contained HTML page out.

tables        the data frames of a report
report_data   the tables joined into runs, hospitals and estimates
formatting    numbers as text
sentences     numbers to sentences; the verb follows the interval
summaries     tables to rows and sentences of one section
drawing       inline SVG figures and plotly charts
sections      one function per section of the page
page, site    the page, and a folder with one page per run
cohort_page   the page of `bench data stats`
"""
