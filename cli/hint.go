package cli

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"time"
)

// hintPause is how often hints are acted on. More of them than that can't make
// plumb ask a Git server more often.
const hintPause = 200 * time.Millisecond

// hints serves POST /hint with a body of {"url": "…"}: somebody says that a
// repository was pushed to. All that comes of it is that the repository's refs
// are asked for sooner than they would be. Anybody may say so; nothing in the
// body chooses a revision, a path or an action.
func hints(hint func(url string) int, log *slog.Logger) http.Handler {
	calm := calm{pause: hintPause}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /hint", func(w http.ResponseWriter, r *http.Request) {
		var body struct {
			URL string `json:"url"`
		}
		b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 64<<10))
		if err != nil {
			http.Error(w, "the body is too large", http.StatusRequestEntityTooLarge)
			return
		}
		if err := json.Unmarshal(b, &body); err != nil || body.URL == "" {
			http.Error(w, `the body is not {"url": "…"}`, http.StatusBadRequest)
			return
		}
		n := 0
		calm.do(body.URL, func() { n = hint(body.URL) }, func() { hint(body.URL) })
		log.Debug("hint", "sources", strconv.Itoa(n))
		w.WriteHeader(http.StatusAccepted)
	})
	return mux
}
