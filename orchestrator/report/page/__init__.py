"""The report as one HTML file that needs nothing else: no network, no clock, the same bytes for the same run.

document.py    the file: head, style, script, sections in order
facts.py       what a report says of a run besides what was gathered from its trace
markup.py      elements, with whatever text is put into them escaped
palette.py     colours, shared with the live page
words.py       instants, durations, sizes, records as sentences
charts.py      pictures: stacked areas, distributions on a logarithmic axis, bars
timeline.py    the time line; `timeline.js` zooms it
sections/      one module per section
"""
