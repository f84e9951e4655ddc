"""What a run shows: `report.html`, a page that needs nothing but itself.

`charts` makes Vega-Lite specs, `page` the HTML around them, `curves` those of metrics.csv.
`outcomes` collects what the net says of the last validation, a class a kind of targets
(`class_outcomes`, …), and `class_page`, … show it. `run_report` puts the page together from the
files of the run folder; `at_end` does so where a fit ends. `compare` lays runs beside each other:
`compared_runs` reads and groups them, `significance` tests a difference.
"""
