"""Which findings a file gives rise to, from loading it to connecting to its PostgreSQLs."""

from __future__ import annotations

import resource
from collections.abc import Iterator

from pooler.check import capacity, differences, machine, security, servers
from pooler.check.report import Report
from pooler.config import Config, load
from pooler.config.advice import RULES
from pooler.config.hba import UNREADABLE
from pooler.config.settings import SETTINGS
from pooler.errors import BootError, ConfigError, Problem
from pooler.master import capacity as master_capacity


def examine(path: str, connect: bool = False, here: bool = False) -> Report:
    """Everything that can be said about the file; with `connect` also about the PostgreSQLs that it names,
    with `here` about this machine, too."""
    report = Report(path)
    try:
        config = load(path)
    except ConfigError as error:
        report.add("error", [problem for problem in error.problems if problem.severity == "error"])
        report.add("advice", [problem for problem in error.problems if problem.severity != "error"])
        return report
    for problem in config.problems:
        report.add(_topic(problem), [problem])
    for topic, rule in RULES:
        report.add(topic, rule(config))
    report.add("unsafe", security.risks(config))
    report.add("error", _too_few_files(config))
    for topic, problem in machine.obstacles(config) if here else ():
        report.add(topic, [problem])
    totals = capacity.totals(config)
    report.add("unused", differences.inert(config))
    report.add("differs", differences.differences(config))
    if connect:
        answer = servers.ask(config, totals)
        report.add("server", answer.wrong)
        report.add("fact", answer.facts)
    else:
        report.add("advice", capacity.unknown(config, totals))
    report.same = _same(config, report)
    return report


def _topic(problem: Problem) -> str:
    """Of a warning of the load."""
    if problem.text.startswith(UNREADABLE):
        return "dropped"
    return "unsafe" if "open to group or others" in problem.text else "advice"


def _too_few_files(config: Config) -> Iterator[Problem]:
    """What a start would refuse for its limit of open files, as far as this shell's limit tells."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if limit == resource.RLIM_INFINITY:
        return
    try:
        master_capacity.check_fds(config, limit)
    except BootError as error:
        place = config.places.get("max_client_conn")
        yield Problem(place.file if place else config.path, place.line if place else 0, str(error))


def _same(config: Config, report: Report) -> str:
    """What is taken over as it is, in numbers."""
    odd = {finding.problem.line for finding in report.findings if finding.topic == "unused"}
    given = [name for name in config.places if name in SETTINGS]
    taken = [name for name in given if config.places[name].line not in odd]
    parts = [
        f"{len(taken)} of {len(given)} settings given",
        f"{len(config.databases) + (config.auto_database is not None)} databases",
        f"{len(config.users)} entries of [users]",
        f"{len(config.userlist)} users of auth_file",
        f"{len(config.peers)} peers",
    ]
    return ", ".join(parts)
