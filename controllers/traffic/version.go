package traffic

import (
	"cmp"
	"runtime/debug"
	"strings"
)

// Version returns that of the program, as the Go command has built it in: of its module, and of the commit where that is known.
func Version() string {
	info, found := debug.ReadBuildInfo()
	if !found {
		return "unknown"
	}
	parts := []string{cmp.Or(info.Main.Version, "(devel)")}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			parts = append(parts, s.Value)
		}
	}
	return strings.Join(append(parts, info.GoVersion), " ")
}
