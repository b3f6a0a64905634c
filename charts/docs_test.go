package charts_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/penstock-dev/penstock/controllers/ramp"
	"github.com/penstock-dev/penstock/controllers/store"
	"github.com/penstock-dev/penstock/dns/route53"
)

func readDoc(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "docs", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// actions returns the IAM actions of an interface that has the calls of a service.
func actions[T any](service string) []string {
	var all []string
	for method := range reflect.TypeFor[T]().Methods() {
		all = append(all, service+":"+method.Name)
	}
	return all
}

// The policy permits what the code calls, each part under the Sid that the page names, and no more.
func TestPolicy(t *testing.T) {
	t.Parallel()
	type policy struct {
		Version   string
		Statement []struct {
			Sid, Effect string
			Action      any
			Resource    string
			Condition   map[string]map[string][]string
		}
	}
	var p policy
	decoder := json.NewDecoder(strings.NewReader(readDoc(t, "iam-policy-controller.json")))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&p); err != nil {
		t.Fatal(err)
	}
	page, got := readDoc(t, "traffic-controller.md"), map[string][]string{}
	for _, s := range p.Statement {
		if s.Effect != "Allow" || s.Resource == "" || !regexp.MustCompile(`^[a-zA-Z0-9]+$`).MatchString(s.Sid) {
			t.Errorf("statement %+v", s)
		}
		if !strings.Contains(page, "`"+s.Sid+"`") {
			t.Errorf("docs/traffic-controller.md does not say when %s is needed", s.Sid)
		}
		part := regexp.MustCompile(`^[A-Z][a-z]+`).FindString(s.Sid)
		switch action := s.Action.(type) {
		case string:
			got[part] = append(got[part], action)
		case []any:
			for _, a := range action {
				got[part] = append(got[part], a.(string))
			}
		}
	}
	want := map[string][]string{
		"Store": actions[store.DynamoDBAPI]("dynamodb"), "Route": actions[route53.API]("route53"), "Gate": actions[ramp.HealthCheckAPI]("route53"),
	}
	for part := range want {
		slices.Sort(want[part])
		slices.Sort(got[part])
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("actions -want +got:\n%s", diff)
	}
	var other policy
	if err := json.Unmarshal([]byte(readDoc(t, "iam-policy.json")), &other); err != nil {
		t.Fatal(err)
	}
	for _, s := range other.Statement {
		if !slices.ContainsFunc(p.Statement, func(o struct {
			Sid, Effect string
			Action      any
			Resource    string
			Condition   map[string]map[string][]string
		},
		) bool {
			return o.Sid == "Route53"+s.Sid && cmp.Equal(o.Action, s.Action) && cmp.Equal(o.Condition, s.Condition) && o.Resource == s.Resource
		}) {
			t.Errorf("statement %s is another one than in iam-policy.json", s.Sid)
		}
	}
}

// The template of the table is one that DynamoDB takes: the attributes that are declared are those of the key, each once.
func TestTable(t *testing.T) {
	t.Parallel()
	type attribute struct{ AttributeName, AttributeType, KeyType string }
	var template struct {
		AWSTemplateFormatVersion, Description string
		Parameters                            map[string]struct{ Type, Default, AllowedPattern, Description string }
		Resources                             map[string]struct {
			Type, DeletionPolicy, UpdateReplacePolicy string
			Properties                                struct {
				TableName                        map[string]string
				BillingMode                      string
				AttributeDefinitions, KeySchema  []attribute
				PointInTimeRecoverySpecification map[string]bool
			}
		}
		Outputs map[string]any
	}
	if err := yaml.UnmarshalStrict([]byte(readDoc(t, "dynamodb-table.yaml")), &template); err != nil {
		t.Fatal(err)
	}
	table := template.Resources["Table"]
	if table.Type != "AWS::DynamoDB::Table" || table.Properties.BillingMode != "PAY_PER_REQUEST" || table.DeletionPolicy != "Retain" {
		t.Errorf("table %+v", table)
	}
	if diff := cmp.Diff([]attribute{{AttributeName: "ClusterName", AttributeType: "S"}}, table.Properties.AttributeDefinitions); diff != "" {
		t.Errorf("AttributeDefinitions -want +got:\n%s", diff)
	}
	if diff := cmp.Diff([]attribute{{AttributeName: "ClusterName", KeyType: "HASH"}}, table.Properties.KeySchema); diff != "" {
		t.Errorf("KeySchema -want +got:\n%s", diff)
	}
	parameter := template.Parameters[table.Properties.TableName["Ref"]]
	if want := optionsOfSchema(t)["tableName"].Default; parameter.Default != want {
		t.Errorf("the table is called %q, the controller's default is %q", parameter.Default, want)
	}
}

// Values, alerts and flags that the pages name exist.
func TestPagesNameWhatExists(t *testing.T) {
	t.Parallel()
	options, flags := optionsOfSchema(t), map[string]bool{}
	for _, name := range flagNames(t) {
		flags[name] = true
	}
	alerts := mustRender(t, "{options: {clusterName: east}, prometheusRule: {enabled: true}}")
	// Those of external-dns, and of the other commands.
	foreign := []string{"policy", "managed-record-types", "dry-run", "context", "watch", "wait"}
	for _, page := range []string{"traffic-controller.md", "migration.md"} {
		text := readDoc(t, page)
		for _, match := range regexp.MustCompile("`options\\.([a-zA-Z0-9]+)").FindAllStringSubmatch(text, -1) {
			if _, ok := options[match[1]]; !ok {
				t.Errorf("%s names options.%s, which the chart does not have", page, match[1])
			}
		}
		for _, match := range regexp.MustCompile("`--?([a-z][a-z0-9-]+)").FindAllStringSubmatch(text, -1) {
			if !flags[match[1]] && !slices.Contains(foreign, match[1]) {
				t.Errorf("%s names the flag --%s, which the controller does not have", page, match[1])
			}
		}
		for _, match := range regexp.MustCompile(`\bPenstock[A-Z][A-Za-z0-9]+`).FindAllString(text, -1) {
			if !strings.Contains(alerts, "alert: "+match+"\n") {
				t.Errorf("%s names the alert %s, which the chart does not have", page, match)
			}
		}
	}
}
