"""The findings of a check by topic, as text for people and as JSON for programs; the exit code."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field

from pooler.errors import Problem

#: Topics in the order in which they are told, with the heading.
TOPICS = {
    "error": "Errors: pooler would not start",
    "login": "Logins that cannot work",
    "dropped": "Lines that are left out",
    "server": "PostgreSQL: not as the file wants it",
    "unsafe": "Unsafe",
    "unused": "Without effect",
    "advice": "Worth a look",
    "differs": "Differs from PgBouncer, on purpose",
    "fact": "PostgreSQL",
}

#: It starts, and is not what the file means: nobody should have to ask for that to be told.
FAILING_TOPICS = ("login", "dropped", "server")
#: What a topic's findings may not be overlooked for: these make --strict fail.
WARNING_TOPICS = (*FAILING_TOPICS, "unsafe", "unused", "advice")
#: What concerns those who come from PgBouncer alone.
PGBOUNCER_TOPICS = ("differs",)

STARTS, DOES_NOT_START, HAS_WARNINGS = 0, 1, 2


@dataclass(frozen=True)
class Finding:
    """One thing to tell."""

    topic: str
    problem: Problem


@dataclass
class Report:
    """All that is known about one file. `same` says in numbers what needs no attention."""

    path: str
    findings: list[Finding] = field(default_factory=list)
    same: str = ""

    def add(self, topic: str, problems: Iterable[Problem]) -> None:
        self.findings += [Finding(topic, problem) for problem in problems]

    def of(self, topic: str) -> list[Problem]:
        """The findings of one topic."""
        return [finding.problem for finding in self.findings if finding.topic == topic]

    @property
    def starts(self) -> bool:
        return not self.of("error")

    def exit_code(self, strict: bool = False) -> int:
        """0: fine. 1: would not start. 2: it starts, and is not what the file means, or with `strict` any
        warning."""
        if not self.starts:
            return DOES_NOT_START
        topics = WARNING_TOPICS if strict else FAILING_TOPICS
        warned = any(one.severity == "warning" for topic in topics for one in self.of(topic))
        return HAS_WARNINGS if warned else STARTS

    def text(self, pgbouncer: bool = False) -> str:
        """For people; with what concerns those who come from PgBouncer, if they ask for it."""
        verdict = "pooler starts with it" if self.starts else "pooler would not start with it"
        told = {topic: self.of(topic) for topic in TOPICS if pgbouncer or topic not in PGBOUNCER_TOPICS}
        if not any(told.values()):
            verdict += ", no problems"
        lines = [f"{self.path}: {verdict}"]
        if self.same:
            lines.append(f"  {self.same}" if not pgbouncer else f"  the same as with PgBouncer: {self.same}")
        for topic, problems in told.items():
            heading = TOPICS[topic]
            if problems:
                lines += ["", f"{heading}:", *(f"  {problem}" for problem in problems)]
        return "\n".join(lines)

    def json(self) -> str:
        """For programs."""
        findings = [
            {
                "topic": finding.topic,
                "file": finding.problem.file,
                "line": finding.problem.line or None,
                "severity": finding.problem.severity,
                "text": finding.problem.text,
            }
            for finding in self.findings
        ]
        told = {"file": self.path, "starts": self.starts, "same": self.same, "findings": findings}
        return json.dumps(told, indent=1)
