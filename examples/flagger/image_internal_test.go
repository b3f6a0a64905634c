package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// The binary is static, whatever the caller's environment says, and for the platform that was asked for.
func TestTheBinaryIsStatic(t *testing.T) {
	t.Setenv("CGO_ENABLED", "1")
	t.Setenv("GOOS", "plan9")
	build, err := building(t.Context(), "go.mod", "flagger", "linux/arm64")
	if err != nil {
		t.Fatal(err)
	}
	last := map[string]string{} // of several values the last one counts
	for _, variable := range build.Env {
		name, value, _ := strings.Cut(variable, "=")
		last[name] = value
	}
	if last["CGO_ENABLED"] != "0" || last["GOOS"] != "linux" || last["GOARCH"] != "arm64" {
		t.Errorf("CGO_ENABLED=%s GOOS=%s GOARCH=%s, want 0, linux and arm64", last["CGO_ENABLED"], last["GOOS"], last["GOARCH"])
	}
	for _, platform := range []string{"", "linux", "/amd64", "linux/", "linux/arm/v7"} {
		if _, err := building(t.Context(), "go.mod", "flagger", platform); err == nil || !strings.Contains(err.Error(), "system/architecture") {
			t.Errorf("platform %q: error %v, want one that says the form", platform, err)
		}
	}
}

// The image is Flagger's own of the version that is built, and the binary lies where that image and Flagger's Deployment start it.
func TestTheImageFitsFlaggersDeployment(t *testing.T) {
	t.Parallel()
	flagger, err := find(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	read := func(path string) string {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	instructions := func(text string) []string {
		var lines []string
		for line := range strings.Lines(text) {
			if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
				lines = append(lines, line)
			}
		}
		return lines
	}
	want := []string{"FROM ghcr.io/fluxcd/flagger:" + strings.TrimPrefix(flagger.Version, "v"), "COPY --chmod=0755 flagger ./flagger"}
	if got := instructions(read("Dockerfile")); !slices.Equal(got, want) {
		t.Errorf("Dockerfile has %q, want %q", got, want)
	}
	theirs := read(filepath.Join(flagger.Dir, "Dockerfile"))
	_, last, _ := strings.Cut(theirs, "\nFROM alpine") // the stage that is the image
	if !slices.Contains(instructions(last), `ENTRYPOINT ["./flagger"]`) || strings.Contains(last, "WORKDIR") {
		t.Errorf("Flagger's own image does not start ./flagger in / any more:\n%s", theirs)
	}
	var deployment struct {
		Spec struct {
			Template struct {
				Spec struct {
					Containers []struct {
						Image         string
						Command       []string
						LivenessProbe struct{ Exec struct{ Command []string } }
					}
				}
			}
		}
	}
	if err := yaml.Unmarshal([]byte(read(filepath.Join(flagger.Dir, "artifacts", "flagger", "deployment.yaml"))), &deployment); err != nil {
		t.Fatal(err)
	}
	container := deployment.Spec.Template.Spec.Containers[0]
	if "FROM "+container.Image != want[0] || container.Command[0] != "./flagger" || !slices.Contains(container.LivenessProbe.Exec.Command, "wget") {
		t.Errorf("Flagger's Deployment is another one than the Dockerfile and its page say: %+v", container)
	}
}
