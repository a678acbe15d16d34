"""`pooler status`, `pooler reload`, `pooler stop`: orders to the instance that runs with a file."""

from pooler.operate.orders import reload, status, stop

__all__ = ["reload", "status", "stop"]
