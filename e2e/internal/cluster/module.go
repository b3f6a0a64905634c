package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// ModuleFile reads a file of a module: of one in go.mod, or at a version.
func ModuleFile(ctx context.Context, module, name string) ([]byte, error) {
	args := []string{"list", "-m", "-f", "{{.Dir}}", module}
	if strings.Contains(module, "@") {
		args = []string{"mod", "download", "-json", module}
	}
	out, err := exec.CommandContext(ctx, "go", args...).Output() //nolint:gosec // tests name the module
	if err != nil {
		return nil, fmt.Errorf("go %s: %w", strings.Join(args, " "), err)
	}
	dir := strings.TrimSpace(string(out))
	if strings.Contains(module, "@") {
		var download struct{ Dir string }
		if err := json.Unmarshal(out, &download); err != nil {
			return nil, fmt.Errorf("go %s: %w", strings.Join(args, " "), err)
		}
		dir = download.Dir
	}
	text, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(name))) //nolint:gosec // and the file in it
	if err != nil {
		return nil, fmt.Errorf("read a file of module %s: %w", module, err)
	}
	return text, nil
}
