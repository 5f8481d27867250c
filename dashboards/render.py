"""From our records to Grafana's JSON (classic schema), through grafana-foundation-sdk: the only module that knows it.

Classic, because file provisioning of Grafana 12 refuses the second schema. The text is stable: sorted keys, two spaces,
panels numbered and placed here, so that a change of a dashboard reads as that change.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from grafana_foundation_sdk.builders import common, stat, table, timeseries
from grafana_foundation_sdk.builders import dashboard as grafana
from grafana_foundation_sdk.builders import prometheus as prom
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import (
    DataSourceRef,
    LegendDisplayMode,
    LegendPlacement,
    StackingMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardLinkType,
    DataTransformerConfig,
    DynamicConfigValue,
    FieldColorModeId,
    GridPos,
    Threshold,
    ThresholdsMode,
    VariableRefresh,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from dashboards.panels import ANNOTATIONS, COLOURS, Annotation, Dashboard, Look, Panel, Query, Row, Unit, Variable
from orchestrator.metrics.catalogue import BY_NAME

PROMETHEUS = DataSourceRef(type_val="prometheus", uid="${datasource}")
TAGS = ["realmfleet", "generated"]
GRID_WIDTH = 24
_HEIGHTS = {Look.STAT: 4, Look.LINES: 8, Look.STACK: 8, Look.TABLE: 8}
_LEGEND_LABEL = re.compile(r"^\{\{(\w+)\}\}$")
_METRIC = re.compile(r"realmfleet_\w+")

_AnyPanel = stat.Panel | timeseries.Panel | table.Panel


def dashboard_json(dashboard: Dashboard) -> str:
    """The file of a dashboard."""
    return JSONEncoder(sort_keys=True, indent=2).encode(_build(dashboard).build()) + "\n"


def _build(dashboard: Dashboard) -> grafana.Dashboard:
    made = (
        grafana.Dashboard(f"Realmfleet / {dashboard.title}")
        .uid(dashboard.uid)
        .description(dashboard.question)
        .tags(TAGS)
        .version(1)
        .refresh("15s")
        .time("now-30m", "now")
        .timezone("utc")
        .readonly()
        .link(_links())
        .with_variable(grafana.DatasourceVariable("datasource").label("Data source").type("prometheus"))
    )
    for variable in dashboard.variables:
        made = made.with_variable(_variable(variable))
    for annotation in ANNOTATIONS:
        made = made.annotation(_annotation(annotation))
    number, top = 1, 0
    for row in dashboard.rows:
        heading = grafana.Row(row.title).id(number).collapsed(row.details).grid_pos(GridPos(1, GRID_WIDTH, 0, top))
        placed = list(_placed(row, number + 1, top + 1))
        number += 1 + len(placed)
        top += 1 if row.details else 1 + _height(row.panels)
        if row.details:
            for panel in placed:
                heading = heading.with_panel(panel)
            placed = []
        made = made.with_row(heading)
        for panel in placed:
            made = made.with_panel(panel)
    return made


def _placed(row: Row, number: int, top: int) -> Iterator[_AnyPanel]:
    """The panels of a row, numbered from `number`, set from left to right, and on the next line when one is full."""
    for place, (panel, x, y) in enumerate(_shelves(row.panels)):
        position = GridPos(_HEIGHTS[panel.look], panel.width, x, top + y)
        yield _panel(panel).id(number + place).grid_pos(position)


def _shelves(panels: Sequence[Panel]) -> Iterator[tuple[Panel, int, int]]:
    x = y = shelf = 0
    for panel in panels:
        if x + panel.width > GRID_WIDTH:
            x, y, shelf = 0, y + shelf, 0
        yield panel, x, y
        x, shelf = x + panel.width, max(shelf, _HEIGHTS[panel.look])


def _height(panels: Sequence[Panel]) -> int:
    return max(y + _HEIGHTS[panel.look] for panel, _, y in _shelves(panels))


# -- panels ----------------------------------------------------------------------------------------------------------


def _panel(panel: Panel) -> _AnyPanel:
    made: _AnyPanel
    if panel.look is Look.STAT:
        made = _stat(panel)
    elif panel.look is Look.TABLE:
        made = _table(panel)
    else:
        made = _lines(panel)
    made = made.title(panel.title).description(panel.shows).datasource(PROMETHEUS).unit(panel.unit)
    for place, query in enumerate(panel.queries):
        made = made.with_target(_target(query, chr(ord("A") + place), instant=panel.look is Look.TABLE))
    return made


def _stat(panel: Panel) -> stat.Panel:
    return (
        stat.Panel()
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .thresholds(_thresholds(panel))
        .color_scheme(grafana.FieldColor().mode(FieldColorModeId.THRESHOLDS))
        .no_value("none")
    )


def _thresholds(panel: Panel) -> grafana.ThresholdsConfig:
    if panel.good_from is not None:
        steps = [Threshold(None, "red"), Threshold(panel.good_from, "green")]
    elif panel.bad_from is not None:
        steps = [Threshold(None, "green"), Threshold(panel.bad_from, "red")]
    else:
        steps = [Threshold(None, "blue")]
    return grafana.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)


def _lines(panel: Panel) -> timeseries.Panel:
    legend = common.VizLegendOptions().display_mode(LegendDisplayMode.TABLE).placement(LegendPlacement.BOTTOM)
    made = timeseries.Panel().legend(legend.show_legend(True).calcs(["lastNotNull", "max"])).min(0)
    made = made.color_scheme(grafana.FieldColor().mode(FieldColorModeId.PALETTE_CLASSIC_BY_NAME))
    if panel.unit is Unit.COUNT:
        made = made.decimals(0)
    if panel.look is Look.STACK:
        made = made.fill_opacity(40).stacking(common.StackingConfig().mode(StackingMode.NORMAL).group("A"))
    for name, colour in _colours(panel.queries):
        made = made.override_by_name(name, [_fixed(colour)])
    if panel.look is Look.STACK:
        for query in panel.queries:
            if "{{" not in query.legend:
                unstacked = DynamicConfigValue("custom.stacking", {"mode": "none", "group": "A"})
                line = DynamicConfigValue("custom.fillOpacity", 0)
                made = made.override_by_name(query.legend, [unstacked, line, _fixed("text")])
    return made


def _colours(queries: Sequence[Query]) -> Iterator[tuple[str, str]]:
    """Colours of series named by the value of one closed label."""
    for query in queries:
        named = _LEGEND_LABEL.match(query.legend)
        if named is None:
            continue
        labels = [
            label
            for metric in _METRIC.findall(query.expr)
            if metric in BY_NAME
            for label in BY_NAME[metric].labels
            if label.name == named[1]
        ]
        for value in dict.fromkeys(value for label in labels for value in label.values):
            if value in COLOURS:
                yield str(value), COLOURS[value]


def _fixed(colour: str) -> DynamicConfigValue:
    return DynamicConfigValue("color", {"mode": "fixed", "fixedColor": colour})


def _table(panel: Panel) -> table.Panel:
    """The labels of the last values, without time and scrape labels."""
    hidden = dict.fromkeys(("Time", "__name__", "instance", "job"), True)
    return table.Panel().transformations([DataTransformerConfig("organize", options={"excludeByName": hidden})])


def _target(query: Query, ref_id: str, *, instant: bool) -> prom.Dataquery:
    target = prom.Dataquery().expr(query.expr).ref_id(ref_id).datasource(PROMETHEUS).legend_format(query.legend)
    return target.instant().format(PromQueryFormat.TABLE) if instant else target.range()


# -- around the panels ---------------------------------------------------------------------------------------------


def _variable(variable: Variable) -> grafana.QueryVariable:
    return (
        grafana.QueryVariable(variable.name)
        .label(variable.name.capitalize())
        .datasource(PROMETHEUS)
        .query(f"label_values({variable.metric}, {variable.label})")
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .multi(True)
        .include_all(True)
        .all_value(".*")
    )


def _annotation(annotation: Annotation) -> grafana.AnnotationQuery:
    return (
        grafana.AnnotationQuery()
        .name(annotation.name)
        .datasource(PROMETHEUS)
        .enable(True)
        .icon_color(annotation.colour)
        .expr(annotation.query.expr)
        .step("15s")
        .title_format(annotation.title)
        .tag_keys("kind,rollout,reason")
    )


def _links() -> grafana.DashboardLink:
    return (
        grafana.DashboardLink("Realmfleet")
        .type(DashboardLinkType.DASHBOARDS)
        .tags(TAGS[:1])
        .keep_time(True)
        .include_vars(True)
    )
