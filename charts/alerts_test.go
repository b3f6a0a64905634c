package charts_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"github.com/prometheus/common/model"
	promql "github.com/prometheus/prometheus/promql/parser"
	"sigs.k8s.io/yaml"
)

// written returns every string that the code of the controller holds, tests left out: the names of metrics, of labels, and of their values are among them.
func written(t *testing.T) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	for _, dir := range []string{"../controllers", "../dns"} {
		err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
			if err != nil {
				return err
			}
			ast.Inspect(file, func(node ast.Node) bool {
				if literal, ok := node.(*ast.BasicLit); ok && literal.Kind == token.STRING {
					if text, err := strconv.Unquote(literal.Value); err == nil {
						found[text] = true
					}
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return found
}

// Alerts are PromQL, of metrics and labels that the controller has, and none is lost.
func TestAlerts(t *testing.T) {
	t.Parallel()
	rules := of[*monitoringv1.PrometheusRule](decode(t, mustRender(t, "{options: {clusterName: east}, prometheusRule: {enabled: true, alertLabels: {team: traffic}}}")))
	if len(rules) != 1 {
		t.Fatalf("%d PrometheusRules", len(rules))
	}
	names := written(t)
	variable := regexp.MustCompile(`\$labels\.([a-z_0-9]+)`)
	count := 0
	for _, group := range rules[0].Spec.Groups {
		for _, rule := range group.Rules {
			count++
			for _, problem := range problems(rule.Expr.String(), names) {
				t.Errorf("alert %s: %s", rule.Alert, problem)
			}
			for _, text := range rule.Annotations {
				for _, match := range variable.FindAllStringSubmatch(text, -1) {
					if !names[match[1]] {
						t.Errorf("alert %s tells of label %s, which no metric has", rule.Alert, match[1])
					}
				}
			}
			if rule.For == nil || rule.Labels["severity"] == "" || rule.Labels["team"] != "traffic" || rule.Annotations["summary"] == "" || rule.Annotations["description"] == "" {
				t.Errorf("alert %s lacks a time, a label or an annotation: %+v", rule.Alert, rule)
			}
		}
	}
	var values struct {
		PrometheusRule struct {
			Alerts map[string]any `json:"alerts"`
		} `json:"prometheusRule"`
	}
	for _, file := range load(t).Raw {
		if file.Name == "values.yaml" {
			if err := yaml.Unmarshal(file.Data, &values); err != nil {
				t.Fatal(err)
			}
		}
	}
	if count != len(values.PrometheusRule.Alerts) {
		t.Errorf("%d alerts, and values for %d", count, len(values.PrometheusRule.Alerts))
	}
}

// problems says what in an expression the code does not know.
func problems(expression string, names map[string]bool) []string {
	parsed, err := promql.NewParser(promql.Options{}).ParseExpr(expression)
	if err != nil {
		return []string{err.Error()}
	}
	var found []string
	promql.Inspect(parsed, func(node promql.Node, _ []promql.Node) error {
		selector, ok := node.(*promql.VectorSelector)
		if !ok {
			return nil
		}
		for _, m := range selector.LabelMatchers {
			switch {
			case m.Name == model.MetricNameLabel && !names[m.Value]:
				found = append(found, "no metric is called "+m.Value)
			case m.Name != model.MetricNameLabel && !names[m.Name]:
				found = append(found, "no metric has the label "+m.Name)
			case m.Name != model.MetricNameLabel && !names[m.Value]:
				found = append(found, "no label "+m.Name+" has the value "+m.Value)
			}
		}
		return nil
	})
	return found
}

// What is only assumed to be in sync is never acknowledged, so alerts that wait for it would never end. Where nothing is assumed they are there, however the
// 0 is written; the route53 backend assumes nothing.
func TestAlertsOfWhatIsAssumed(t *testing.T) {
	t.Parallel()
	for option, assumed := range map[string]bool{
		"assumeSyncAfter: 3m": true, "assumeSyncAfter: 0.5s": true, "assumeSyncAfter: 0s": false, `assumeSyncAfter: "0"`: false, "assumeSyncAfter: 0m": false,
		"assumeSyncAfter: 0h0m0s": false, "devMode: true": false, "assumeSyncAfter: 10m, dnsBackend: route53": false, "assumeSyncAfter: 10m, dnsBackend: externaldns": true,
	} {
		text := mustRender(t, fmt.Sprintf("{options: {clusterName: east, %s}, prometheusRule: {enabled: true}}", option))
		for name, want := range map[string]bool{"PenstockWeightNotServed": !assumed, "PenstockIngressesPending": !assumed, "PenstockStoreFailing": true} {
			if got := strings.Contains(text, "alert: "+name+"\n"); got != want {
				t.Errorf("%s: %s is there: %t, want %t", option, name, got, want)
			}
		}
	}
}
