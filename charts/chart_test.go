package charts_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"github.com/penstock-dev/penstock/controllers/traffic"
)

var update = flag.Bool("update", false, "rewrite the golden files")

const (
	chartDir  = "penstock"
	release   = "penstock"
	namespace = "traffic"
)

// kinds maps "apiVersion kind" to a new object of it.
var kinds = map[string]func() metav1.Object{
	"apps/v1 Deployment":                              func() metav1.Object { return &appsv1.Deployment{} },
	"v1 ServiceAccount":                               func() metav1.Object { return &corev1.ServiceAccount{} },
	"v1 Service":                                      func() metav1.Object { return &corev1.Service{} },
	"policy/v1 PodDisruptionBudget":                   func() metav1.Object { return &policyv1.PodDisruptionBudget{} },
	"rbac.authorization.k8s.io/v1 ClusterRole":        func() metav1.Object { return &rbacv1.ClusterRole{} },
	"rbac.authorization.k8s.io/v1 ClusterRoleBinding": func() metav1.Object { return &rbacv1.ClusterRoleBinding{} },
	"rbac.authorization.k8s.io/v1 Role":               func() metav1.Object { return &rbacv1.Role{} },
	"rbac.authorization.k8s.io/v1 RoleBinding":        func() metav1.Object { return &rbacv1.RoleBinding{} },
	"monitoring.coreos.com/v1 ServiceMonitor":         func() metav1.Object { return &monitoringv1.ServiceMonitor{} },
	"monitoring.coreos.com/v1 PrometheusRule":         func() metav1.Object { return &monitoringv1.PrometheusRule{} },
}

func load(t *testing.T) *chart.Chart {
	t.Helper()
	c, err := loader.LoadDir(chartDir)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// render returns what `helm template` prints, the files in order and the notes left out.
func render(t *testing.T, values string) (string, error) {
	t.Helper()
	user, err := chartutil.ReadValues([]byte(values))
	if err != nil {
		t.Fatalf("values: %v", err)
	}
	c := load(t)
	all, err := chartutil.ToRenderValues(c, user, chartutil.ReleaseOptions{Name: release, Namespace: namespace, Revision: 1, IsInstall: true}, chartutil.DefaultCapabilities)
	if err != nil {
		return "", err
	}
	files, err := engine.Render(c, all)
	if err != nil {
		return "", err
	}
	var out strings.Builder
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if strings.HasSuffix(name, ".yaml") && strings.TrimSpace(files[name]) != "" {
			fmt.Fprintf(&out, "---\n# Source: %s\n%s\n", name, strings.TrimSpace(files[name]))
		}
	}
	return out.String(), nil
}

func mustRender(t *testing.T, values string) string {
	t.Helper()
	text, err := render(t, values)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// decode returns the objects of a text, each decoded strictly: a field that its type does not have, or that is there twice, is an error.
func decode(t *testing.T, text string) []metav1.Object {
	t.Helper()
	var objects []metav1.Object
	documents := utilyaml.NewYAMLReader(bufio.NewReader(strings.NewReader(text)))
	for {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return objects
		}
		if err != nil {
			t.Fatal(err)
		}
		var meta metav1.TypeMeta
		if err := yaml.Unmarshal(document, &meta); err != nil {
			t.Fatalf("%v in:\n%s", err, document)
		}
		if meta.Kind == "" && len(bytes.TrimSpace(document)) == 0 {
			continue
		}
		blank, ok := kinds[meta.APIVersion+" "+meta.Kind]
		if !ok {
			t.Fatalf("the chart makes a %s %s, which this test does not know:\n%s", meta.APIVersion, meta.Kind, document)
		}
		object := blank()
		if err := yaml.UnmarshalStrict(document, object); err != nil {
			t.Fatalf("%v in:\n%s", err, document)
		}
		objects = append(objects, object)
	}
}

// of returns the objects of one type.
func of[T metav1.Object](objects []metav1.Object) []T {
	var found []T
	for _, object := range objects {
		if o, ok := object.(T); ok {
			found = append(found, o)
		}
	}
	return found
}

func deployment(t *testing.T, objects []metav1.Object) *appsv1.Deployment {
	t.Helper()
	found := of[*appsv1.Deployment](objects)
	if len(found) != 1 {
		t.Fatalf("%d Deployments, want 1", len(found))
	}
	return found[0]
}

// flagsOf parses the arguments of the controller as its command does, after Kubernetes has replaced $$ in them.
// https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/#entrypoint
func flagsOf(t *testing.T, objects []metav1.Object) (*flag.FlagSet, *traffic.Options) {
	t.Helper()
	args := deployment(t, objects).Spec.Template.Spec.Containers[0].Args
	if len(args) == 0 || args[0] != "controller" {
		t.Fatalf("arguments %q, want the command controller first", args)
	}
	for i := range args {
		args[i] = strings.ReplaceAll(args[i], "$$", "$")
	}
	flags, opts := flag.NewFlagSet("controller", flag.ContinueOnError), &traffic.Options{}
	flags.SetOutput(io.Discard)
	opts.AddFlags(flags)
	if err := flags.Parse(args[1:]); err != nil {
		t.Fatalf("the controller refuses %q: %v", args, err)
	}
	if flags.NArg() > 0 {
		t.Fatalf("the controller takes %q for no flag", flags.Arg(0))
	}
	return flags, opts
}

// cases returns the values files by name.
func cases(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("testdata/*.values.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("values files: %v, %v", files, err)
	}
	found := map[string]string{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		found[strings.TrimSuffix(filepath.Base(file), ".values.yaml")] = string(text)
	}
	return found
}

// What Helm makes of each values file is what its golden file holds, Kubernetes has types for all of it, and the controller starts with its arguments.
func TestGolden(t *testing.T) {
	t.Parallel()
	for name, values := range cases(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := mustRender(t, values)
			golden := filepath.Join("testdata", name+".golden.yaml")
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("%s -want +got:\n%s\nrun go test . -run Golden -update", golden, diff)
			}
			if strings.Contains(got, "<no value>") || strings.Contains(got, "%!") {
				t.Errorf("a template uses a value that does not exist:\n%s", got)
			}
			objects := decode(t, got)
			_, opts := flagsOf(t, objects)
			if err := opts.Complete(); err != nil {
				t.Errorf("the controller refuses its options: %v", err)
			}
		})
	}
}

// The Pods are found by the labels that selectors use, which include the name by which the commands of penstock find them, and each object has the
// labels that Kubernetes recommends.
func TestLabels(t *testing.T) {
	t.Parallel()
	for name, values := range cases(t) {
		objects := decode(t, mustRender(t, values))
		pod := deployment(t, objects).Spec.Template.Labels
		if pod["app.kubernetes.io/name"] != "penstock" {
			t.Errorf("%s: the Pods are called %q", name, pod["app.kubernetes.io/name"])
		}
		selectors := map[string]map[string]string{"Deployment": deployment(t, objects).Spec.Selector.MatchLabels}
		for _, o := range of[*corev1.Service](objects) {
			selectors["Service"] = o.Spec.Selector
		}
		for _, o := range of[*policyv1.PodDisruptionBudget](objects) {
			selectors["PodDisruptionBudget"] = o.Spec.Selector.MatchLabels
		}
		for _, c := range deployment(t, objects).Spec.Template.Spec.TopologySpreadConstraints {
			selectors["topologySpreadConstraint "+c.TopologyKey] = c.LabelSelector.MatchLabels
		}
		for kind, selector := range selectors {
			for key, value := range selector {
				if pod[key] != value {
					t.Errorf("%s: %s selects Pods with %s=%s, they have %q", name, kind, key, value, pod[key])
				}
			}
			if len(selector) == 0 {
				t.Errorf("%s: %s selects every Pod", name, kind)
			}
		}
		for _, o := range objects {
			for _, label := range []string{"name", "instance", "version", "component", "part-of", "managed-by"} {
				if o.GetLabels()["app.kubernetes.io/"+label] == "" {
					t.Errorf("%s: %T %s has no label app.kubernetes.io/%s", name, o, o.GetName(), label)
				}
			}
		}
		for _, o := range of[*monitoringv1.ServiceMonitor](objects) {
			service := of[*corev1.Service](objects)[0]
			for key, value := range o.Spec.Selector.MatchLabels {
				if service.Labels[key] != value {
					t.Errorf("%s: the ServiceMonitor wants %s=%s of a Service that has %q", name, key, value, service.Labels[key])
				}
			}
		}
	}
}

// The Pods run without any right on their node.
func TestSecurity(t *testing.T) {
	t.Parallel()
	pod := deployment(t, decode(t, mustRender(t, "options: {clusterName: east}"))).Spec.Template.Spec
	s, c := pod.SecurityContext, pod.Containers[0].SecurityContext
	if s.RunAsNonRoot == nil || !*s.RunAsNonRoot || s.SeccompProfile == nil || s.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
		t.Errorf("securityContext of the Pods %+v", s)
	}
	if c.ReadOnlyRootFilesystem == nil || !*c.ReadOnlyRootFilesystem || c.AllowPrivilegeEscalation == nil || *c.AllowPrivilegeEscalation ||
		c.Capabilities == nil || !slices.Equal(c.Capabilities.Drop, []corev1.Capability{"ALL"}) {
		t.Errorf("securityContext of the container %+v", c)
	}
}

// option is one of the schema's options.
type option struct {
	Description string `json:"description"`
	Default     any    `json:"default"`
	Examples    []any  `json:"examples"`
}

func optionsOfSchema(t *testing.T) map[string]option {
	t.Helper()
	var schema struct {
		Properties struct {
			Options struct {
				Properties map[string]option `json:"properties"`
			} `json:"options"`
		} `json:"properties"`
	}
	if err := json.Unmarshal(load(t).Schema, &schema); err != nil {
		t.Fatal(err)
	}
	return schema.Properties.Options.Properties
}

// Every flag of the controller can be set through values: with the examples of all options, each flag is passed, and has the value of its example.
func TestEveryFlagCanBeSet(t *testing.T) {
	t.Parallel()
	examples := map[string]any{}
	for name, o := range optionsOfSchema(t) {
		if len(o.Examples) != 1 || o.Description == "" {
			t.Fatalf("option %s needs one example and a description in the schema", name)
		}
		examples[name] = o.Examples[0]
	}
	steps := maps.Clone(examples)
	delete(steps, "assumeSyncAfter") // which goes with no step
	values, err := yaml.Marshal(map[string]any{"options": steps})
	if err != nil {
		t.Fatal(err)
	}
	flags, opts := flagsOf(t, decode(t, mustRender(t, string(values))))
	assumed, _ := flagsOf(t, decode(t, mustRender(t, fmt.Sprintf("options: {clusterName: a, assumeSyncAfter: %v}", examples["assumeSyncAfter"]))))
	set := map[string]bool{}
	for _, some := range []*flag.FlagSet{flags, assumed} {
		some.Visit(func(f *flag.Flag) { set[f.Name] = true })
	}
	all := 0
	flags.VisitAll(func(f *flag.Flag) {
		all++
		if !set[f.Name] {
			t.Errorf("flag --%s cannot be set: add it to penstock.flags in templates/_helpers.tpl, to values.yaml and to the schema", f.Name)
		}
	})
	if all != len(examples) {
		t.Errorf("%d options for %d flags", len(examples), all)
	}
	if opts.RampQuery != examples["rampQuery"] {
		t.Errorf("a query with a $ arrives as %q", opts.RampQuery)
	}
	if opts.KubeAPIBurst != 2000000 || *opts.RampQueryMax != 1000000 || *opts.RampQueryMin != -0.5 || opts.Route53Rate != 2.5 {
		t.Errorf("numbers arrive as %d, %v, %v, %v", opts.KubeAPIBurst, *opts.RampQueryMax, *opts.RampQueryMin, opts.Route53Rate)
	}
	if want := []string{"192.0.2.53:53", "[2001:db8::53]:53"}; !slices.Equal(opts.Resolvers, want) {
		t.Errorf("resolvers arrive as %q", opts.Resolvers)
	}
}

// Nothing is passed that is not set, so that the controller's defaults hold; the schema says which these are.
func TestDefaults(t *testing.T) {
	t.Parallel()
	flags, _ := flagsOf(t, decode(t, mustRender(t, `options: {clusterName: east, bindingDomain: "", dnsResolvers: []}`)))
	var set []string
	flags.Visit(func(f *flag.Flag) { set = append(set, f.Name) })
	if want := []string{"cluster-name", "enable-leader-election"}; !slices.Equal(set, want) {
		t.Errorf("flags %q are passed without being set, want %q", set, want)
	}
	names := flagNames(t)
	for name, o := range optionsOfSchema(t) {
		f := flags.Lookup(names[name])
		if f == nil {
			t.Errorf("option %s is flag %q, which the controller does not have", name, names[name])
			continue
		}
		got := ""
		if o.Default != nil {
			got = fmt.Sprint(o.Default)
		}
		if got != f.DefValue {
			t.Errorf("option %s: the schema says that the default is %q, the controller has %q", name, got, f.DefValue)
		}
	}
}

// flagNames returns the flags by option, as the template has them.
func flagNames(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(chartDir, "templates/_helpers.tpl"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), `{{- define "penstock.flags" -}}`)
	body, _, found := strings.Cut(rest, "{{- end -}}")
	names := map[string]string{}
	if err := yaml.UnmarshalStrict([]byte(body), &names); err != nil || !found || len(names) == 0 {
		t.Fatalf("penstock.flags: %v, %v", names, err)
	}
	return names
}

// values.yaml names every option, set or as a comment, and the schema knows all that it sets.
func TestValuesAreDocumented(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(chartDir, "values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "\noptions:\n")
	body, _, _ := strings.Cut(rest, "\n# Further arguments")
	named := map[string]bool{}
	for _, match := range regexp.MustCompile(`(?m)^  (?:# )?([a-zA-Z0-9]+):(?: |$)`).FindAllStringSubmatch(body, -1) {
		named[match[1]] = true
	}
	options := optionsOfSchema(t)
	for name := range options {
		if !named[name] {
			t.Errorf("values.yaml does not name options.%s", name)
		}
	}
	// What is commented is right when it is not.
	all := strings.Replace(string(text), body, regexp.MustCompile(`(?m)^  # ([a-zA-Z0-9]+:)`).ReplaceAllString(body, "  $1"), 1)
	all = strings.Replace(all, "\n  assumeSyncAfter: 3m", "", 1) // which goes with no step, and no resolvers
	// Gates go with a step only, and that with a store.
	all = strings.NewReplacer("\n  rampStep: 0", "\n  rampStep: 10", "\n  backendType: fake", "\n  backendType: configmap").Replace(all)
	if _, err := render(t, all); err != nil {
		t.Errorf("values.yaml with its comments removed: %v", err)
	}
}

// Wrong values are refused, and the error names the value and what is right.
func TestWrongValues(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		reason string
		values string
		want   []string // in the error
	}{
		"NoName":          {"A cluster without a name has no row.", `{}`, []string{"/options", "missing property 'clusterName'"}},
		"EmptyName":       {"As above.", `options: {clusterName: ""}`, []string{"/options/clusterName", "minLength"}},
		"NameWithSpace":   {"The controller refuses it.", `options: {clusterName: "a b"}`, []string{"/options/clusterName", "pattern"}},
		"NumberAsName":    {"YAML makes 7 a number, which the table's key is not.", `options: {clusterName: 7}`, []string{"/options/clusterName", "got number, want string"}},
		"UnknownOption":   {"A typing error must not be ignored.", `options: {clusterName: a, bindingdomain: b}`, []string{"/options", "additional properties 'bindingdomain' not allowed"}},
		"UnknownValue":    {"As above.", `{options: {clusterName: a}, replicaCount: 3}`, []string{"additional properties 'replicaCount' not allowed"}},
		"LegacyImage":     {"The chart before this one had one value for the whole image.", `{options: {clusterName: a}, image: {fullyQualifiedURL: b}}`, []string{"/image", "fullyQualifiedURL"}},
		"LegacyIAM":       {"It is an annotation of the ServiceAccount now.", `{options: {clusterName: a}, iam: {role: b}}`, []string{"additional properties 'iam' not allowed"}},
		"Store":           {"There are three.", `options: {clusterName: a, backendType: dynamo}`, []string{"/options/backendType", "'fake', 'configmap', 'dynamoDB'"}},
		"Backend":         {"There are two.", `options: {clusterName: a, dnsBackend: bind}`, []string{"/options/dnsBackend", "'externaldns', 'route53'"}},
		"WeightAbove100":  {"A weight is a percentage.", `options: {clusterName: a, initialWeight: 120}`, []string{"/options/initialWeight", "maximum: got 120, want 100"}},
		"NegativeWeight":  {"As above.", `options: {clusterName: a, initialWeight: -1}`, []string{"/options/initialWeight", "minimum"}},
		"FractionWeight":  {"The table has whole numbers.", `options: {clusterName: a, initialWeight: 12.5}`, []string{"/options/initialWeight", "want integer"}},
		"TextAsWeight":    {"--set-string makes text of a number.", `options: {clusterName: a, initialWeight: "50"}`, []string{"/options/initialWeight", "got string, want integer"}},
		"NumberAsTime":    {"20 has no unit.", `options: {clusterName: a, pollInterval: 20}`, []string{"/options/pollInterval", "want string"}},
		"TimeWithoutUnit": {"As above.", `options: {clusterName: a, pollInterval: "20"}`, []string{"/options/pollInterval", "pattern"}},
		"Filter":          {"A filter that is none must not match everything.", `options: {clusterName: a, annotationFilter: foo}`, []string{"/options/annotationFilter", "pattern"}},
		"FilterTwice":     {"As above.", `options: {clusterName: a, annotationFilter: a=b=c}`, []string{"/options/annotationFilter", "pattern"}},
		"Resolvers":       {"They are a list here.", `options: {clusterName: a, dnsResolvers: "192.0.2.53:53"}`, []string{"/options/dnsResolvers", "want array"}},
		"ResolverPort":    {"A port is needed.", `options: {clusterName: a, dnsResolvers: ["192.0.2.53"]}`, []string{"/options/dnsResolvers/0", "pattern"}},
		"Rate":            {"0 would never ask.", `options: {clusterName: a, route53Rate: 0}`, []string{"/options/route53Rate", "minimum: got 0, want 0.1"}},
		"QPS":             {"0 is no rate.", `options: {clusterName: a, kubeAPIQPS: 0}`, []string{"/options/kubeAPIQPS", "not"}},
		"Step":            {"A step is at most everything.", `options: {clusterName: a, rampStep: 101}`, []string{"/options/rampStep", "maximum: got 101, want 100"}},
		"BlankQuery":      {"It asks nothing.", `options: {clusterName: a, rampQuery: " "}`, []string{"/options/rampQuery", "pattern"}},
		"Switch":          {"\"yes\" is text.", `options: {clusterName: a, devMode: "yes"}`, []string{"/options/devMode", "want boolean"}},
		"Prometheus":      {"A URL has a scheme.", `options: {clusterName: a, prometheusURL: "prometheus:9090"}`, []string{"/options/prometheusURL", "pattern"}},
		"Address":         {"The probes need a port.", `options: {clusterName: a, healthAddr: "8081"}`, []string{"/options/healthAddr", "pattern"}},
		"OnePort":         {"Both cannot listen there.", `options: {clusterName: a, healthAddr: ":8080"}`, []string{"metricsAddr", "healthAddr", "8080"}},
		"Digest":          {"A digest has 64 digits.", `{options: {clusterName: a}, image: {digest: "sha256:0"}}`, []string{"/image/digest", "pattern"}},
		"NumberAsTag":     {"YAML makes 1.10 the number 1.1.", `{options: {clusterName: a}, image: {tag: 1.10}}`, []string{"/image/tag", "want string"}},
		"Replicas":        {"Both would write.", `options: {clusterName: a, enableLeaderElection: false}`, []string{"replicas 2", "enableLeaderElection"}},
		"Budget":          {"Kubernetes takes one.", `{options: {clusterName: a}, podDisruptionBudget: {minAvailable: 1}}`, []string{"one of minAvailable and maxUnavailable"}},
		"AlertName":       {"A typing error must not be ignored.", `{options: {clusterName: a}, prometheusRule: {alerts: {pending: {enabled: false}}}}`, []string{"/prometheusRule/alerts", "'pending'"}},
		"AlertTime":       {"Prometheus wants a unit.", `{options: {clusterName: a}, prometheusRule: {alerts: {storeFailing: {for: "5"}}}}`, []string{"/prometheusRule/alerts/storeFailing/for", "pattern"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := render(t, tc.values)
			if err == nil {
				t.Fatalf("%s\n%s was taken", tc.reason, tc.values)
			}
			for _, want := range tc.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%s\n%s\nerror %q, want %q in it", tc.reason, tc.values, err, want)
				}
			}
		})
	}
}
