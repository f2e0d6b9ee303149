"""For all tests."""

import signal

# Whoever runs the tests in the background, or by nohup, may have signals ignored, which programs
# that the tests start would inherit: an ignored signal stays ignored, a handled one gets its
# default back.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
