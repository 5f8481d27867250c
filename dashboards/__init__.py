"""Dashboards, rules and provisioning for Grafana and Prometheus, and the code that generates the dashboards.

    panels.py      what a dashboard says, as plain records
    boards/        the seven dashboards, one per task
    render.py      from these records to Grafana's JSON, through grafana-foundation-sdk
    generate.py    writes grafana/dashboards/*.json, or checks that they are up to date
    expressions.py which metrics and labels an expression names
    grafana/       generated dashboards, and how Grafana finds them
    prometheus/    configuration, recording and alert rules, and their unit tests
    compose.yaml   Prometheus and Grafana for those who have containers

Of the rest of the project only the metrics catalogue is imported.
"""
