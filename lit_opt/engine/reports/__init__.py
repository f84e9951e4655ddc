"""What a run shows: `report.html`, a page of its curves and outcomes that needs nothing but itself.

`charts` makes Vega-Lite specs, `page` the HTML around them.
"""
