package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

const canaries = "canaries.flagger.app"

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

// definitions returns those of Flagger's text, as JSON, by their names.
func definitions(t *testing.T, text []byte) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	for document := range bytes.SplitSeq(text, []byte("\n---\n")) {
		definition, err := yaml.YAMLToJSON(document)
		if err != nil {
			t.Fatal(err)
		}
		all[parse(t, definition).Metadata.Name] = definition
	}
	return all
}

func parse(t *testing.T, text []byte) (d definition) {
	t.Helper()
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

func read(t *testing.T, path ...string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// addsTheProvider checks the definition of a Canary after the patch, and that Flagger's has the other provider.
func addsTheProvider(t *testing.T, before, after []byte) {
	t.Helper()
	want := append(parse(t, before).providers(), "dns-weighted")
	if got := parse(t, after).providers(); !slices.Equal(got, want) || !slices.Contains(want, "skipper") {
		t.Errorf("providers %v, want %v", got, want)
	}
}

// TestTheJSONPatch applies it with the library of kubectl patch.
func TestTheJSONPatch(t *testing.T) {
	t.Parallel()
	flagger, err := find(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	patch, err := jsonpatch.DecodePatch(read(t, "crd", "provider.json"))
	if err != nil {
		t.Fatal(err)
	}
	before := definitions(t, read(t, flagger.Dir, "artifacts", "flagger", "crd.yaml"))[canaries]
	after, err := patch.Apply(before)
	if err != nil {
		t.Fatal(err)
	}
	addsTheProvider(t, before, after)
}

// TestTheKustomization builds it with kustomize, to which a file stands for the address of Flagger's definitions. Kustomize patches nothing, in
// silence, where a patch's target names no object.
func TestTheKustomization(t *testing.T) {
	t.Parallel()
	flagger, err := find(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	text := read(t, "crd", "kustomization.yaml")
	address := []byte("https://raw.githubusercontent.com/fluxcd/flagger/" + flagger.Version + "/artifacts/flagger/crd.yaml")
	if bytes.Count(text, address) != 1 {
		t.Fatalf("want %s once, which is of the version that is built, in the kustomization:\n%s", address, text)
	}
	before := read(t, flagger.Dir, "artifacts", "flagger", "crd.yaml")
	files := filesys.MakeFsInMemory()
	for name, content := range map[string][]byte{
		"kustomization.yaml": bytes.Replace(text, address, []byte("crd.yaml"), 1), "crd.yaml": before, "provider.json": read(t, "crd", "provider.json"),
	} {
		if err := files.WriteFile(name, content); err != nil {
			t.Fatal(err)
		}
	}
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(files, ".")
	if err != nil {
		t.Fatal(err)
	}
	after, err := built.AsYaml()
	if err != nil {
		t.Fatal(err)
	}
	was, is := definitions(t, before), definitions(t, after)
	if len(is) != len(was) {
		t.Errorf("%d definitions were built of %d", len(is), len(was))
	}
	addsTheProvider(t, was[canaries], is[canaries])
}
