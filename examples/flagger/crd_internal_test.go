package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	"sigs.k8s.io/yaml"
)

// definition is as much of a CustomResourceDefinition as the patch is about.
type definition struct {
	Metadata struct{ Name string }
	Spec     struct {
		Versions []struct {
			Schema struct {
				OpenAPIV3Schema struct {
					Properties struct {
						Spec struct {
							Properties struct{ Provider struct{ Enum []string } }
						}
					}
				}
			}
		}
	}
}

func (d definition) providers() []string {
	return d.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties.Spec.Properties.Provider.Enum
}

func TestTheCRDPatchAddsTheProvider(t *testing.T) {
	t.Parallel()
	flagger, err := find(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(flagger.Dir, "artifacts", "flagger", "crd.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	patchText, err := os.ReadFile(filepath.Join("crd", "provider.json"))
	if err != nil {
		t.Fatal(err)
	}
	patch, err := jsonpatch.DecodePatch(patchText)
	if err != nil {
		t.Fatal(err)
	}
	patched := 0
	for document := range bytes.SplitSeq(text, []byte("\n---\n")) {
		before, err := yaml.YAMLToJSON(document)
		if err != nil {
			t.Fatal(err)
		}
		var was, is definition
		if err := json.Unmarshal(before, &was); err != nil {
			t.Fatal(err)
		}
		if was.Metadata.Name != "canaries.flagger.app" {
			continue
		}
		patched++
		after, err := patch.Apply(before)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(after, &is); err != nil {
			t.Fatal(err)
		}
		if want := append(was.providers(), "dns-weighted"); !slices.Equal(is.providers(), want) || !slices.Contains(want, "skipper") {
			t.Errorf("providers %v, want %v", is.providers(), want)
		}
	}
	if patched != 1 {
		t.Errorf("%d definitions of Canary were patched, want one", patched)
	}
}

func TestTheKustomizationIsOfTheVersionThatIsBuilt(t *testing.T) {
	t.Parallel()
	flagger, err := find(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join("crd", "kustomization.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var k struct {
		Resources []string
		Patches   []struct {
			Path   string
			Target struct{ Group, Version, Kind, Name string }
		}
	}
	if err := yaml.Unmarshal(text, &k); err != nil {
		t.Fatal(err)
	}
	if len(k.Resources) != 1 || !strings.Contains(k.Resources[0], "/flagger/"+flagger.Version+"/") {
		t.Errorf("resources %v, want one of Flagger %s", k.Resources, flagger.Version)
	}
	if len(k.Patches) != 1 || k.Patches[0].Path != "provider.json" {
		t.Fatalf("patches %v", k.Patches)
	}
	// Kustomize patches nothing, in silence, where there is no such object.
	if got, want := k.Patches[0].Target, (struct{ Group, Version, Kind, Name string }{
		"apiextensions.k8s.io", "v1", "CustomResourceDefinition", "canaries.flagger.app",
	}); got != want {
		t.Errorf("the patch is for %+v, want %+v", got, want)
	}
}
