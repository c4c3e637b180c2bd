package render

import "time"

// limits bound what comes after the build. They are far above what people
// write and far below what hurts.
type limits struct {
	written   int64 // bytes of all objects as JSON
	variables int   // substitutions in one object
	copied    int64 // bytes that escapes in one object make the parser copy
	patience  time.Duration
}

// MostWritten is how many bytes the objects of a render may take as JSON.
const MostWritten = 32 << 20

var defaultLimits = limits{
	written:   MostWritten,
	variables: 100_000,
	copied:    4 << 30,
	patience:  5 * time.Minute,
}
