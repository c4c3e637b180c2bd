package sourcetest_test

import (
	"testing"

	"plumb.dev/plumb/source/sourcetest"
)

func TestMemory(t *testing.T) {
	sourcetest.Run(t, func(*testing.T) sourcetest.Server {
		return sourcetest.NewMemory("mem://server/source", sourcetest.NewDisk())
	})
}
