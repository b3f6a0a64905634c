package manifests_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"sigs.k8s.io/yaml"
)

// TestPatchesOfTheDeployment applies the patches to Flagger's own Deployment, as kubectl does.
func TestPatchesOfTheDeployment(t *testing.T) {
	t.Parallel()
	module, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/fluxcd/flagger").Output()
	if err != nil {
		t.Fatal(err)
	}
	patched := jsonOf(t, filepath.Join(strings.TrimSpace(string(module)), "artifacts", "flagger", "deployment.yaml"))
	var before, after appsv1.Deployment
	if err := json.Unmarshal(patched, &before); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"deployment-patch.yaml", "deployment-probes.yaml"} {
		if patched, err = strategicpatch.StrategicMergePatch(patched, jsonOf(t, file), appsv1.Deployment{}); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
	}
	if err := json.Unmarshal(patched, &after); err != nil {
		t.Fatal(err)
	}
	if n := len(after.Spec.Template.Spec.Containers); n != 1 {
		t.Fatalf("%d containers, want that of Flagger patched", n)
	}
	was, is := before.Spec.Template.Spec.Containers[0], after.Spec.Template.Spec.Containers[0]
	if len(is.EnvFrom) != 1 || is.EnvFrom[0].ConfigMapRef == nil || is.EnvFrom[0].ConfigMapRef.Name != "penstock" {
		t.Errorf("envFrom %v, want the ConfigMap penstock", is.EnvFrom)
	}
	if is.Image != was.Image || len(is.Command) != len(was.Command) {
		t.Errorf("image %q and command %q, want those of before, %q and %q", is.Image, is.Command, was.Image, was.Command)
	}
	for name, probe := range map[string][2]*corev1.Probe{"liveness": {was.LivenessProbe, is.LivenessProbe}, "readiness": {was.ReadinessProbe, is.ReadinessProbe}} {
		was, is := probe[0], probe[1]
		if was.Exec == nil || was.Exec.Command[0] != "wget" {
			t.Errorf("%s: Flagger's own probe is %+v, want one that calls wget", name, was)
			continue
		}
		url := was.Exec.Command[len(was.Exec.Command)-1]
		if is.Exec != nil || is.HTTPGet == nil || url != "http://localhost:"+is.HTTPGet.Port.String()+is.HTTPGet.Path || is.TimeoutSeconds != was.TimeoutSeconds {
			t.Errorf("%s: the patched probe is %+v, want a GET of %s", name, is, url)
		}
	}
}

// jsonOf returns a file of YAML as JSON.
func jsonOf(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if text, err = yaml.YAMLToJSON(text); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return text
}
