package traffic

import (
	"cmp"
	"runtime/debug"
	"strings"
)

// version is set by the linker where an image is built, which knows nothing of the module's versions or commits.
var version string

// Version returns that of the program: what an image was built as, or what the Go command has built in, which is the version of the module, and the commit
// where that is known.
func Version() string {
	info, found := debug.ReadBuildInfo()
	if !found {
		return "unknown"
	}
	parts := []string{cmp.Or(version, info.Main.Version, "(devel)")}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			parts = append(parts, s.Value)
		}
	}
	return strings.Join(append(parts, info.GoVersion), " ")
}
