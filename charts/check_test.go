package charts_test

import (
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/penstock-dev/penstock/controllers/traffic"
)

// Options that do not go together are refused by Helm, in words that name them, and not by a Pod that is started again and again.
func TestWrongTogether(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		reason  string
		options string
		want    []string // in the error
	}{
		"StepsUnproved":   {"Every step would wait for ever.", "backendType: configmap, rampStep: 25, assumeSyncAfter: 3m", []string{"rampStep 25", "assumeSyncAfter", "unset one"}},
		"StepsOfFake":     {"A restart would forget the move.", "backendType: fake, rampStep: 25", []string{"rampStep 25", "backendType"}},
		"StepsOfNoStore":  {"As above: fake is the default.", "rampStep: 25", []string{"rampStep 25", "backendType"}},
		"ReadyNoStep":     {"Nobody would ask.", "backendType: configmap, rampReady: 50", []string{"rampReady", "rampStep"}},
		"HealthNoStep":    {"As above.", "backendType: configmap, rampStep: 0, rampHealthCheck: true", []string{"rampHealthCheck", "rampStep"}},
		"QueryNoStep":     {"As above.", "backendType: configmap, rampQuery: up, rampQueryMin: 1, prometheusURL: http://prometheus", []string{"rampQuery", "rampStep"}},
		"QueryNoRange":    {"Nothing would be refused.", "backendType: configmap, rampStep: 5, rampQuery: up, prometheusURL: http://prometheus", []string{"rampQuery up", "rampQueryMin", "rampQueryMax"}},
		"QueryOfNobody":   {"Somebody must answer.", "backendType: configmap, rampStep: 5, rampQuery: up, rampQueryMin: 0", []string{"rampQuery up", "prometheusURL"}},
		"RangeOfNothing":  {"A range is one of a query.", "backendType: configmap, rampStep: 5, rampQueryMax: 0", []string{"rampQueryMax", "set options.rampQuery"}},
		"RangeUpsideDown": {"No value is in it.", "backendType: configmap, rampStep: 5, rampQuery: up, prometheusURL: http://prometheus, rampQueryMin: 1, rampQueryMax: 0.5", []string{"rampQueryMin 1", "rampQueryMax 0.5"}},
		"AskedAndAssumed": {"DNS is asked or it is not.", "assumeSyncAfter: 3m, dnsResolvers: ['192.0.2.53:53']", []string{"assumeSyncAfter 3m", "dnsResolvers", "unset one"}},
		"NoTimeOfPolls":   {"The store would be asked all the time.", "pollInterval: 0m", []string{"pollInterval 0m", "1s"}},
		"NoTTL":           {"Nothing would be remembered.", "innerTTL: '0'", []string{"innerTTL 0", "1s"}},
		"NoTimeOfSteps":   {"A step must be seen.", "rampInterval: 0s", []string{"rampInterval 0s", "1s"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := render(t, "{options: {clusterName: a, "+tc.options+"}}")
			if err == nil {
				t.Fatalf("%s\n%s was taken", tc.reason, tc.options)
			}
			for _, want := range tc.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%s\n%s\nerror %q, want %q in it", tc.reason, tc.options, err, want)
				}
			}
		})
	}
}

// What an option needs may be among the further arguments, such as a URL with a password from a Secret.
func TestFurtherArgumentsCount(t *testing.T) {
	t.Parallel()
	for values, taken := range map[string]bool{
		"{options: {clusterName: a, backendType: configmap, rampStep: 5, rampQuery: up, rampQueryMin: 1}, extraArgs: [--prometheus-url=$(URL)]}":                  true,
		"{options: {clusterName: a, backendType: configmap, rampStep: 5, rampQuery: up, prometheusURL: http://a}, extraArgs: [-ramp-query-max, '1']}":             true,
		"{options: {clusterName: a, backendType: configmap, rampStep: 5, rampQueryMin: 1, prometheusURL: http://a}, extraArgs: [--ramp-query=$(QUERY)]}":          true,
		"{options: {clusterName: a, rampStep: 5}, extraArgs: [--backend-type=$(STORE)]}":                                                                          true,
		"{options: {clusterName: a, rampReady: 5}, extraArgs: [--backend-type=configmap, --ramp-step=$(STEP)]}":                                                   true,
		"{options: {clusterName: a, backendType: configmap, rampStep: 5, rampQuery: up, rampQueryMin: 1}, extraArgs: [--prometheus-urls=a, x--prometheus-url=b]}": false,
	} {
		if _, err := render(t, values); (err == nil) != taken {
			t.Errorf("%s\nerror %v, want it to be taken: %t", values, err, taken)
		}
	}
}

// Of all that options can be together, Helm takes what the controller starts with and nothing else.
func TestChartRefusesWhatTheControllerRefuses(t *testing.T) {
	t.Parallel()
	for name, choices := range map[string][][]string{
		"Sync": {
			{"", "backendType: fake", "backendType: dynamodb"},
			{"", "rampStep: 0", "rampStep: 10"},
			{"", `assumeSyncAfter: "0s"`, `assumeSyncAfter: "0"`, `assumeSyncAfter: 0m`, `assumeSyncAfter: 10m`},
			{"", `dnsResolvers: ["192.0.2.53:53"]`},
		},
		"Gates": {
			{"backendType: configmap"},
			{"", "rampStep: 100"},
			{"", "rampReady: 0", "rampReady: 10"},
			{"", "rampHealthCheck: true"},
			{"", `rampQuery: ""`, "rampQuery: up"},
			{"prometheusURL: http://prometheus"},
			{"", "rampQueryMax: 1"},
		},
		"Query": {
			{"backendType: configmap"},
			{"rampStep: 10"},
			{"", "rampQuery: up"},
			{"", `prometheusURL: ""`, "prometheusURL: http://prometheus"},
			{"", "rampQueryMin: 0", "rampQueryMin: 0.5", "rampQueryMin: 1e+2"},
			{"", "rampQueryMax: 0", "rampQueryMax: 0.5", "rampQueryMax: -1"},
		},
		"Times": {{"", `pollInterval: "0"`, "pollInterval: 1s"}, {"", "innerTTL: 0h", "innerTTL: 1m"}, {"", "rampInterval: 0s", "rampInterval: 90s"}, {"", "hostTTL: 0s"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			taken := 0
			combined := combinations(choices)
			for _, options := range combined {
				text := "{clusterName: east, " + strings.Join(options, ", ") + "}"
				refusal := startWith(t, text)
				_, err := render(t, "options: "+text)
				if (err == nil) != (refusal == nil) {
					t.Errorf("%s\nHelm says %v\nthe controller says %v", text, err, refusal)
				}
				if err == nil {
					taken++
				}
			}
			if taken == 0 || taken == len(combined) {
				t.Errorf("%d of %d are taken, which shows nothing", taken, len(combined))
			}
		})
	}
}

// combinations returns every way to choose one of each; what is empty is left out.
func combinations(choices [][]string) [][]string {
	all := [][]string{nil}
	for _, some := range choices {
		var longer [][]string
		for _, chosen := range all {
			for _, one := range some {
				next := slices.Clone(chosen)
				if one != "" {
					next = append(next, one)
				}
				longer = append(longer, next)
			}
		}
		all = longer
	}
	return all
}

// startWith returns what the controller says about options, which are passed as the chart does: the empty ones are not.
func startWith(t *testing.T, options string) error {
	t.Helper()
	var values map[string]any
	if err := yaml.Unmarshal([]byte(options), &values); err != nil {
		t.Fatalf("%s: %v", options, err)
	}
	flags, opts, names := flag.NewFlagSet("controller", flag.ContinueOnError), &traffic.Options{}, flagNames(t)
	flags.SetOutput(io.Discard)
	opts.AddFlags(flags)
	for name, value := range values {
		text := fmt.Sprint(value)
		if list, ok := value.([]any); ok { // of one, or none
			text = fmt.Sprint(list...)
		}
		if text == "" {
			continue
		}
		if err := flags.Set(names[name], text); err != nil {
			t.Fatalf("%s: %v", options, err)
		}
	}
	return opts.Complete()
}
