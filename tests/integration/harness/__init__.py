# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the integration tests, the scenarios and ./try stand on: a private bus, the daemon on
a simulated host, and a D-Bus client that shares no code with the daemon."""

import os

# Everything that waits, waits for an event and this long at most; valgrind is slow.
PATIENCE = 30 * (6 if "valgrind" in os.environ.get("DMAOWNER_TEST_WRAPPER", "") else 1)
