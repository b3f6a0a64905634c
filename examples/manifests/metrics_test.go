package manifests_test

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"
	"text/template"
	"time"

	flaggerv1 "github.com/fluxcd/flagger/pkg/apis/flagger/v1beta1"
)

// query is one of those that Flagger hands to CloudWatch.
// https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_MetricDataQuery.html
type query struct {
	ID         string `json:"Id"`
	Expression string
	Label      string
	MetricStat *struct {
		Metric struct {
			Namespace, MetricName string
			Dimensions            []struct{ Name, Value string }
		}
		Period int
		Stat   string
	}
	ReturnData *bool
}

// TestMetricTemplates checks that every template that a Canary refers to stands beside it, and that what Flagger renders from it for that
// Canary is what CloudWatch takes.
func TestMetricTemplates(t *testing.T) {
	t.Parallel()
	checked := 0
	for file, canary := range canaries(t) {
		templates := map[string]*flaggerv1.MetricTemplate{}
		for _, o := range read(t, file) {
			if m, ok := o.(*flaggerv1.MetricTemplate); ok {
				templates[m.Namespace+"/"+m.Name] = m
			}
		}
		for _, metric := range canary.GetAnalysis().Metrics {
			ref := metric.TemplateRef
			if ref == nil {
				if metric.Name != "request-success-rate" && metric.Name != "request-duration" {
					t.Errorf("%s: metric %s is none of Flagger's own, and has no template", file, metric.Name)
				}
				continue
			}
			namespace := ref.Namespace
			if namespace == "" {
				namespace = canary.Namespace
			}
			m := templates[namespace+"/"+ref.Name]
			if m == nil {
				t.Errorf("%s: there is no MetricTemplate %s/%s", file, namespace, ref.Name)
				continue
			}
			checked++
			delete(templates, namespace+"/"+ref.Name)
			if m.Spec.Provider.Type != "cloudwatch" || m.Spec.Provider.Region == "" {
				t.Fatalf("%s: provider %+v: want cloudwatch with a region, which this test knows", file, m.Spec.Provider)
			}
			checkQueries(t, metric, rendered(t, m.Spec.Query, flaggerv1.MetricTemplateModel{
				Name: canary.Name, Namespace: canary.Namespace, Interval: metric.Interval, Variables: metric.TemplateVariables,
			}))
		}
		for name := range templates {
			t.Errorf("%s: nobody refers to MetricTemplate %s", file, name)
		}
	}
	if checked == 0 {
		t.Error("no template was checked")
	}
}

// rendered is what Flagger makes of a query.
// https://github.com/fluxcd/flagger/blob/v1.44.0/pkg/metrics/observers/render.go
func rendered(t *testing.T, query string, model flaggerv1.MetricTemplateModel) string {
	t.Helper()
	parsed, err := template.New("").Option("missingkey=error").Funcs(model.TemplateFunctions()).Parse(query)
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	if err := parsed.Execute(&text, nil); err != nil {
		t.Fatal(err)
	}
	return text.String()
}

// checkQueries checks that one value is returned, computed of nothing that is not there, over the interval of the metric.
func checkQueries(t *testing.T, metric flaggerv1.CanaryMetric, text string) {
	t.Helper()
	var queries []query
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&queries); err != nil {
		t.Fatalf("metric %s: %v\n%s", metric.Name, err, text)
	}
	interval, err := time.ParseDuration(metric.Interval)
	if err != nil {
		t.Fatal(err)
	}
	var ids, used, returned []string
	for _, q := range queries {
		if !regexp.MustCompile(`^[a-z][a-zA-Z0-9_]*$`).MatchString(q.ID) || slices.Contains(ids, q.ID) {
			t.Errorf("metric %s: id %q is malformed or there twice", metric.Name, q.ID)
		}
		ids = append(ids, q.ID)
		if q.ReturnData == nil || *q.ReturnData {
			returned = append(returned, q.ID)
		}
		used = append(used, regexp.MustCompile(`\b[a-z]\w*`).FindAllString(q.Expression, -1)...)
		switch {
		case (q.MetricStat == nil) == (q.Expression == ""):
			t.Errorf("metric %s: %s is not one of an expression and a metric", metric.Name, q.ID)
		case q.MetricStat != nil:
			if got := time.Duration(q.MetricStat.Period) * time.Second; got != interval {
				t.Errorf("metric %s: %s has the period %s, want the interval %s", metric.Name, q.ID, got, interval)
			}
			if m := q.MetricStat.Metric; m.Namespace == "" || m.MetricName == "" || len(m.Dimensions) == 0 || q.MetricStat.Stat == "" ||
				m.Dimensions[0].Value != metric.TemplateVariables["loadBalancer"] {
				t.Errorf("metric %s: %s is %+v", metric.Name, q.ID, q.MetricStat)
			}
		}
	}
	for _, id := range used {
		if !slices.Contains(ids, id) {
			t.Errorf("metric %s: the expression needs %s, which is not there", metric.Name, id)
		}
	}
	if len(returned) != 1 || len(ids) != len(used)+1 {
		t.Errorf("metric %s: %v is returned, want one; %v is used of %v", metric.Name, returned, used, ids)
	}
}
