"""Small tensors on shared cores: one thread each is faster and steadier than two that wait."""

import os

# before torch is imported, and inherited by the processes that tests start
os.environ.setdefault("OMP_NUM_THREADS", "1")
