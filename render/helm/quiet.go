package helm

import (
	"io"
	"log"
	"log/slog"
)

// Quiet takes what Helm's library says to the loggers of the process off them: it
// quotes values, and there is no way to tell it not to. It is for main, before
// anything else runs; whoever sets other loggers afterwards may not render in the
// same process.
func Quiet() {
	slog.SetDefault(slog.New(slog.DiscardHandler))
	log.SetOutput(io.Discard)
}
