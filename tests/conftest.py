"""For all tests."""

import signal

# Whoever runs the tests in the background may have the interrupt ignored, which programs that the
# tests start would inherit: an ignored signal stays ignored, a handled one gets its default back.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
