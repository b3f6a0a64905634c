package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// upstream is the module path of Flagger. A fork must keep it, or its Canary is another type than the one that the routers know.
const upstream = "github.com/fluxcd/flagger"

func main() {
	output := flag.String("o", "flagger", "the binary to `write`; a folder beside it keeps the sources that it was built from")
	platform := flag.String("platform", runtime.GOOS+"/"+runtime.GOARCH, "`system/architecture` that the binary is for")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *output, *platform); err != nil {
		fmt.Fprintln(os.Stderr, "flagger:", err)
		stop()
		os.Exit(1)
	}
}

// run builds the binary. The working directory is that of the module whose go.mod names Flagger.
func run(ctx context.Context, output, platform string) error {
	output, err := filepath.Abs(output)
	if err != nil {
		return fmt.Errorf("path of the binary: %w", err)
	}
	sources := output + ".src"
	build, err := building(ctx, sources+".mod", output, platform)
	if err != nil {
		return err
	}
	module, err := find(ctx)
	if err != nil {
		return err
	}
	if err := module.fork(sources); err != nil {
		return fmt.Errorf("flagger %s: %w", module.Version, err)
	}
	if err := replacing(sources); err != nil {
		return err
	}
	if err := build.Run(); err != nil {
		return fmt.Errorf("build flagger %s in %s: %w", module.Version, sources, err)
	}
	return nil
}

// building returns the command that builds the binary, statically, so that an image needs no C library.
func building(ctx context.Context, modfile, output, platform string) (*exec.Cmd, error) {
	system, architecture, found := strings.Cut(platform, "/")
	if !found || system == "" || architecture == "" || strings.Contains(architecture, "/") {
		return nil, fmt.Errorf("platform %q is not of the form system/architecture, such as linux/arm64", platform)
	}
	revision := "-X " + upstream + "/pkg/version.REVISION=penstock"                                                                    // what -version and the log say
	build := exec.CommandContext(ctx, "go", "build", "-modfile", modfile, "-ldflags", revision, "-o", output, upstream+"/cmd/flagger") //nolint:gosec // paths that the caller chose
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS="+system, "GOARCH="+architecture)
	build.Stdout, build.Stderr = os.Stdout, os.Stderr
	return build, nil
}

// module is Flagger as it lies in the module cache.
type module struct{ Dir, Version string }

func find(ctx context.Context) (module, error) {
	list := exec.CommandContext(ctx, "go", "list", "-m", "-json", upstream)
	list.Stderr = os.Stderr
	out, err := list.Output()
	if err != nil {
		return module{}, fmt.Errorf("go list -m %s: %w", upstream, err)
	}
	var m module
	if err := json.Unmarshal(out, &m); err != nil {
		return module{}, fmt.Errorf("go list -m %s: %w", upstream, err)
	}
	if m.Dir == "" {
		return module{}, fmt.Errorf("go list -m %s: the module is not in the module cache; run go mod download", upstream)
	}
	return m, nil
}

// fork makes dir a copy of what the binary is built from, with our lines in it. Files that are as they should be stay untouched, so that
// nothing is built twice.
func (m module) fork(dir string) error {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return fmt.Errorf("make the folder of the sources: %w", err)
	}
	sources, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("open the folder of the sources: %w", err)
	}
	defer func() { _ = sources.Close() }() // nothing is written through it then
	patched := map[string]func([]byte) ([]byte, error){
		"pkg/router/factory.go":            routers,
		"pkg/metrics/observers/factory.go": observers,
	}
	upstream := os.DirFS(m.Dir)
	var written []string
	for _, part := range []string{"go.mod", "cmd/flagger", "pkg"} {
		err := fs.WalkDir(upstream, part, func(name string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			content, err := fs.ReadFile(upstream, name)
			if err != nil {
				return err //nolint:wrapcheck // it names the file
			}
			if patch := patched[name]; patch != nil {
				delete(patched, name)
				if content, err = patch(content); err != nil {
					return fmt.Errorf("%s: %w", name, err)
				}
			} else if err := elsewhere(name, content); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			written = append(written, name)
			return keep(sources, name, content)
		})
		if err != nil {
			return fmt.Errorf("copy: %w", err)
		}
	}
	for name := range patched {
		return fmt.Errorf("there is no %s to insert into", name)
	}
	return sweep(sources, written)
}

// keep writes a file unless it has the content already.
func keep(root *os.Root, name string, content []byte) error {
	before, err := root.ReadFile(name)
	if err == nil && slices.Equal(before, content) {
		return nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read: %w", err)
	}
	if err := root.MkdirAll(path.Dir(name), 0o750); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	if err := root.WriteFile(name, content, 0o600); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}

// sweep removes what an earlier version of Flagger left.
func sweep(root *os.Root, written []string) error {
	slices.Sort(written)
	err := fs.WalkDir(root.FS(), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		if _, found := slices.BinarySearch(written, name); found {
			return nil
		}
		return root.Remove(name)
	})
	if err != nil {
		return fmt.Errorf("remove what is left of another version: %w", err)
	}
	return nil
}

// replacing writes, beside the sources, a go.mod that is that of the working directory with the sources in Flagger's place. The go.sum beside
// it is the same, because the copy needs no other modules; go.mod has Flagger's command as a tool, so go.sum has all of them.
func replacing(sources string) error {
	beside, err := os.OpenRoot(filepath.Dir(sources))
	if err != nil {
		return fmt.Errorf("open the folder of the binary: %w", err)
	}
	defer func() { _ = beside.Close() }() // nothing is written through it then
	module := os.DirFS(".")
	for suffix, more := range map[string]string{".mod": fmt.Sprintf("\nreplace %s => %s\n", upstream, sources), ".sum": ""} {
		content, err := fs.ReadFile(module, "go"+suffix)
		if err != nil {
			return fmt.Errorf("read the module's own files: %w", err)
		}
		if err := keep(beside, filepath.Base(sources)+suffix, append(content, more...)); err != nil {
			return err
		}
	}
	return nil
}
