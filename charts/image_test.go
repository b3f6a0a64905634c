package charts_test

import (
	"flag"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
)

const root = ".."

var exact = flag.Bool("exact", false, "build the image's binary with -trimpath, for which every package is compiled anew")

// instructions returns the Dockerfile without comments, continued lines joined.
func instructions(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(strings.ReplaceAll(string(text), "\\\n", " ")) {
		if line = strings.Join(strings.Fields(line), " "); line != "" && line[0] != '#' {
			lines = append(lines, line)
		}
	}
	return lines
}

// The image has a static binary, no shell, no root, and bases of a version.
func TestDockerfile(t *testing.T) {
	t.Parallel()
	lines := instructions(t)
	for _, want := range []string{
		"FROM gcr.io/distroless/static-debian12:nonroot", "USER 65532:65532", `ENTRYPOINT ["/penstock"]`,
	} {
		if !slices.Contains(lines, want) {
			t.Errorf("no line %q", want)
		}
	}
	for _, line := range lines {
		if strings.HasPrefix(line, "FROM ") && !regexp.MustCompile(`:[a-z0-9.-]+( AS [a-z]+)?$`).MatchString(line) {
			t.Errorf("%s: pin a tag", line)
		}
	}
	user := deployment(t, decode(t, mustRender(t, "options: {clusterName: east}"))).Spec.Template.Spec.SecurityContext.RunAsUser
	if user == nil || *user != 65532 {
		t.Errorf("the chart runs the image as user %v", user)
	}
}

// The command of the Dockerfile builds the binary, statically, of the files that .dockerignore leaves. Unless -exact is set it does so without -trimpath,
// so that what other tests have compiled is used.
func TestImageBuilds(t *testing.T) {
	t.Parallel()
	dir, out := t.TempDir(), t.TempDir()
	copied := sendContext(t, dir)
	for _, path := range copied {
		if strings.HasSuffix(path, "_test.go") || strings.Contains(path, "/testdata/") || strings.HasPrefix(path, ".") {
			t.Errorf("the build context has %s", path)
		}
	}
	var build string
	work := "/src"
	for _, line := range instructions(t) {
		if w, found := strings.CutPrefix(line, "WORKDIR "); found {
			work = w
		}
		if command := regexp.MustCompile(`^RUN (?:--mount=\S+ )*(.*)$`).FindStringSubmatch(line); command != nil {
			build = command[1]
			break
		}
	}
	if !strings.Contains(build, "-trimpath") || !slices.Contains(instructions(t), "ENV CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH") {
		t.Fatalf("command %q: want -trimpath, and no C", build)
	}
	if !*exact {
		build = strings.ReplaceAll(build, "-trimpath ", "")
	}
	build = strings.ReplaceAll(build, "/out/", filepath.ToSlash(out)+"/")
	command := exec.CommandContext(t.Context(), "sh", "-c", build)
	command.Dir = filepath.Join(dir, strings.TrimPrefix(work, "/src"))
	command.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS="+runtime.GOOS, "GOARCH="+runtime.GOARCH, "GOWORK=off", "VERSION=1.2.3")
	if text, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", build, err, text)
	}
	binary := filepath.Join(out, "penstock")
	text, err := exec.CommandContext(t.Context(), binary, "controller", "-h").CombinedOutput()
	if err != nil || !strings.Contains(string(text), "-cluster-name") {
		t.Errorf("penstock controller -h: %v\n%s", err, text)
	}
	if text, err = exec.CommandContext(t.Context(), binary, "version").CombinedOutput(); err != nil || !strings.HasPrefix(string(text), "penstock 1.2.3 ") {
		t.Errorf("penstock version: %v\n%s", err, text)
	}
	info, err := exec.CommandContext(t.Context(), "go", "version", "-m", binary).CombinedOutput()
	if err != nil || !strings.Contains(string(info), "CGO_ENABLED=0") || *exact && strings.Contains(string(info), dir) {
		t.Errorf("go version -m: %v\n%s", err, info)
	}
}

// sendContext copies what a build is sent to dir, and returns the paths.
func sendContext(t *testing.T, dir string) []string {
	t.Helper()
	file, err := os.Open(filepath.Join(root, ".dockerignore"))
	if err != nil {
		t.Fatal(err)
	}
	patterns, err := ignorefile.ReadAll(file)
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	ignored, err := patternmatcher.New(patterns)
	if err != nil {
		t.Fatal(err)
	}
	var copied []string
	err = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		path, err = filepath.Rel(root, path)
		if err != nil || path == "." {
			return err
		}
		if entry.IsDir() && path[0] == '.' { // nothing in there is wanted, and .git is large
			return fs.SkipDir
		}
		skip, err := ignored.MatchesOrParentMatches(path)
		if err != nil || skip || entry.IsDir() {
			return err
		}
		text, err := os.ReadFile(filepath.Join(root, path))
		if err != nil {
			return err
		}
		copied = append(copied, path)
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, path)), 0o750); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, path), text, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
	return copied
}
