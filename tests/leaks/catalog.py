"""All kinds of session state."""

from __future__ import annotations

from tests.leaks.devious import DEVIOUS
from tests.leaks.flight import FLIGHT
from tests.leaks.hidden import HIDDEN
from tests.leaks.objects import OBJECTS
from tests.leaks.settings import SETTINGS

KINDS = [*SETTINGS, *HIDDEN, *OBJECTS, *DEVIOUS, *FLIGHT]
