"""Metrics of a run: a catalogue in code, a pure fold from the trace, and ways out to Prometheus.

    catalogue.py   every metric: name, type, unit, labels with their values, help, dashboards
    metric.py      what an entry of the catalogue is made of
    labels.py      the labels and the values each may take
    tally.py       the present value of every series, as integers
    samples.py     every series over the virtual time of a run
    fleet_facts.py what must be known of a run besides its trace
    process.py     what is true of one execution only: versions, actors, wall time
    folds/         one file per concern: which trace records move which metrics
    collect.py     drives the folds over a trace and samples them
    export.py      OpenMetrics text with virtual timestamps, and what is written into the run directory
    live.py        the same values for a running fleet, as a collector of prometheus_client
    backfill.py    loads a finished run into a Prometheus data directory
    reference.py   the documentation page

A metric without a source in trace or run is not in the catalogue.
"""
