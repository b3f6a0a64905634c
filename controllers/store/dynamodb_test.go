//go:build dynamodb

package store_test

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/penstock-dev/penstock/controllers/store"
)

// table is a table of its own for a test, on the real protocol.
type table struct {
	name   string
	client *dynamodb.Client // past the faults
	faults *faults
}

func newTable(t *testing.T) *table {
	t.Helper()
	return newTableWithKey(t, t.Name(), "ClusterName")
}

func newTableWithKey(t *testing.T, name, key string) *table {
	t.Helper()
	endpoint := server.url(t)
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	tab := &table{
		name:   strings.NewReplacer("/", "-", "#", "-").Replace(name),
		client: newClient(endpoint, transport), faults: &faults{t: t, next: transport},
	}
	_, err := tab.client.CreateTable(t.Context(), &dynamodb.CreateTableInput{
		TableName: &tab.name, BillingMode: types.BillingModePayPerRequest,
		AttributeDefinitions: []types.AttributeDefinition{{AttributeName: &key, AttributeType: types.ScalarAttributeTypeS}},
		KeySchema:            []types.KeySchemaElement{{AttributeName: &key, KeyType: types.KeyTypeHash}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return tab
}

// store returns a Store whose calls pass the faults.
func (tab *table) store(t *testing.T, opts store.Options) *store.DynamoDB {
	t.Helper()
	s, err := store.NewDynamoDB(newClient(server.url(t), tab.faults), tab.name, cluster, opts)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (tab *table) put(t *testing.T, item map[string]types.AttributeValue) error {
	t.Helper()
	item["ClusterName"] = &types.AttributeValueMemberS{Value: cluster}
	_, err := tab.client.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: &tab.name, Item: item})
	return err
}

func (tab *table) item(t *testing.T) map[string]types.AttributeValue {
	t.Helper()
	out, err := tab.client.GetItem(t.Context(), &dynamodb.GetItemInput{
		TableName: &tab.name, ConsistentRead: aws.Bool(true), Key: map[string]types.AttributeValue{"ClusterName": &types.AttributeValueMemberS{Value: cluster}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.Item
}

// numbers are the attributes of type N; the others are S.
var numbers = map[string]bool{"DesiredWeight": true, "CurrentWeight": true, "RampFrom": true, "RampTo": true, "RampWeight": true, "RampFailures": true}

func newDynamoDB(t *testing.T) subject {
	t.Helper()
	tab := newTable(t)
	return subject{
		Store: tab.store(t, store.Options{}),
		again: func(t *testing.T) store.Store { t.Helper(); return tab.store(t, store.Options{}) },
		put: func(t *testing.T, attributes map[string]string) bool {
			t.Helper()
			item := map[string]types.AttributeValue{}
			for name, value := range attributes {
				if numbers[name] {
					item[name] = &types.AttributeValueMemberN{Value: value}
				} else {
					item[name] = &types.AttributeValueMemberS{Value: value}
				}
			}
			err := tab.put(t, item)
			if api, ok := errors.AsType[smithy.APIError](err); ok && api.ErrorCode() == "ValidationException" {
				return false
			}
			if err != nil {
				t.Fatal(err)
			}
			return true
		},
		attributes: func(t *testing.T) map[string]string {
			t.Helper()
			attributes := map[string]string{}
			for name, value := range tab.item(t) {
				switch v := value.(type) {
				case *types.AttributeValueMemberN:
					attributes[name] = v.Value
					if !numbers[name] {
						t.Errorf("%s is a number", name)
					}
				case *types.AttributeValueMemberS:
					attributes[name] = v.Value
					if numbers[name] {
						t.Errorf("%s is text", name)
					}
				default:
					t.Errorf("%s is a %T", name, value)
				}
			}
			return attributes
		},
	}
}

func TestDynamoDBTypes(t *testing.T) {
	t.Parallel()
	text := func(value string) types.AttributeValue { return &types.AttributeValueMemberS{Value: value} }
	cases := map[string]struct {
		reason, name string
		value        types.AttributeValue
		says         []string
	}{
		"Text":    {"a number in quotes is not what others read", "DesiredWeight", text("50"), []string{`DesiredWeight is "50" (S)`, "wrong type", "whole number"}},
		"Null":    {"null is not 0, which would drain", "DesiredWeight", &types.AttributeValueMemberNULL{Value: true}, []string{"DesiredWeight is a value of type NULL"}},
		"Bool":    {"nor is it false", "CurrentWeight", &types.AttributeValueMemberBOOL{Value: false}, []string{"CurrentWeight is a value of type BOOL"}},
		"Number":  {"an id is text", "HealthCheckID", &types.AttributeValueMemberN{Value: "5"}, []string{"HealthCheckID is 5 (N)", "health check"}},
		"Numbers": {"one weight, not many", "DesiredWeight", &types.AttributeValueMemberNS{Value: []string{"5", "6"}}, []string{"DesiredWeight is a value of type NS"}},
		"Ramp":    {"seconds are no time", "RampSince", &types.AttributeValueMemberN{Value: "1767322800"}, []string{"RampSince is 1767322800 (N)", "remove all"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tab := newTable(t)
			item := map[string]types.AttributeValue{"DesiredWeight": &types.AttributeValueMemberN{Value: "50"}}
			item[tc.name] = tc.value
			if err := tab.put(t, item); err != nil {
				t.Fatal(err)
			}
			row, err := tab.store(t, store.Options{}).Read(t.Context())
			wantError(t, err, store.ErrInvalid, append(tc.says, cluster, tab.name)...)
			if row != (store.Row{}) {
				t.Errorf("%s: a row beside the error: %+v", tc.reason, row)
			}
		})
	}
}

// Attributes that the controller does not know, of any type, stay as they are.
func TestDynamoDBKeepsOthers(t *testing.T) {
	t.Parallel()
	tab := newTable(t)
	item := map[string]types.AttributeValue{
		"DesiredWeight": &types.AttributeValueMemberN{Value: "50"},
		"Tags":          &types.AttributeValueMemberSS{Value: []string{"a"}},
		"Nested":        &types.AttributeValueMemberM{Value: map[string]types.AttributeValue{"x": &types.AttributeValueMemberBOOL{Value: true}}},
	}
	if err := tab.put(t, item); err != nil {
		t.Fatal(err)
	}
	s := tab.store(t, store.Options{})
	row := read(t, s)
	next := row
	next.CurrentWeight = 50
	if err := s.Acknowledge(t.Context(), row, next); err != nil {
		t.Fatal(err)
	}
	if err := s.Desire(t.Context(), 60); err != nil {
		t.Fatal(err)
	}
	item["DesiredWeight"], item["CurrentWeight"] = &types.AttributeValueMemberN{Value: "60"}, &types.AttributeValueMemberN{Value: "50"}
	if diff := cmp.Diff(item, tab.item(t), ignoreUnexported); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// Many clusters share a table.
func TestDynamoDBClusters(t *testing.T) {
	t.Parallel()
	tab := newTable(t)
	s := tab.store(t, store.Options{})
	west, err := store.NewDynamoDB(tab.client, tab.name, "west", store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	created(t, subject{Store: s})
	_, err = west.Read(t.Context())
	wantError(t, err, store.ErrNotFound, tab.name, "west")
	if err := west.Create(t.Context(), store.Row{DesiredWeight: 1}); err != nil {
		t.Fatal(err)
	}
	if err := west.Desire(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	wantRow(t, s, "another cluster's row is another row", store.Row{ClusterName: cluster, DesiredWeight: 50})
	wantRow(t, west, "and the other way round", store.Row{ClusterName: "west", DesiredWeight: 2})
}

func TestDynamoDBTable(t *testing.T) {
	t.Parallel()
	tab := newTable(t)
	tab.name = "nowhere"
	s := tab.store(t, store.Options{})
	_, err := s.Read(t.Context())
	for _, err := range []error{err, s.Create(t.Context(), store.Row{}), s.Desire(t.Context(), 5), s.Acknowledge(t.Context(), store.Row{}, store.Row{})} {
		missing := &types.ResourceNotFoundException{}
		if !errors.As(err, &missing) || errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrConflict) {
			t.Fatalf("without the table, which is not the lack of a row: %v", err)
		}
		for _, part := range []string{`"nowhere"`, `"east"`, "the table does not exist", "ClusterName (S)", "--table-name"} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("error %q does not say %q", err, part)
			}
		}
	}
	other := newTableWithKey(t, t.Name()+"-key", "Cluster")
	_, err = other.store(t, store.Options{}).Read(t.Context())
	if err == nil || !strings.Contains(err.Error(), "the key of the table must be ClusterName (S) alone") {
		t.Errorf("with another key: %v", err)
	}
}

// The environment is read at the first call, and again after a failure.
func TestEnvironmentClient(t *testing.T) {
	tab := newTable(t)
	profile := filepath.Join(t.TempDir(), "config")
	for name, value := range map[string]string{
		"AWS_CONFIG_FILE": profile, "AWS_SHARED_CREDENTIALS_FILE": profile + "-none", "AWS_PROFILE": "cluster", "AWS_EC2_METADATA_DISABLED": "true",
		"AWS_ENDPOINT_URL_DYNAMODB": server.url(t), "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret",
		"AWS_REGION": "", "AWS_DEFAULT_REGION": "",
	} {
		t.Setenv(name, value)
	}
	open := func(region string) *store.DynamoDB {
		t.Helper()
		s, err := store.NewDynamoDB(store.NewEnvironmentClient(region), tab.name, cluster, store.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := open("eu-west-1")
	if _, err := s.Read(t.Context()); err == nil || !strings.Contains(err.Error(), "AWS configuration") {
		t.Fatalf("without the profile: error %v", err)
	}
	if err := os.WriteFile(profile, []byte("[profile cluster]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	created(t, subject{Store: s})
	if _, err := open("").Read(t.Context()); err == nil || !strings.Contains(err.Error(), "--aws-region") {
		t.Errorf("without a region: error %v", err)
	}
	t.Setenv("AWS_REGION", "eu-central-1")
	wantRow(t, open(""), "the environment's region", store.Row{ClusterName: cluster, DesiredWeight: 50})
}

// ignoreUnexported is for the SDK's values, which carry a marker.
var ignoreUnexported = cmpopts.IgnoreUnexported(
	types.AttributeValueMemberN{}, types.AttributeValueMemberS{}, types.AttributeValueMemberSS{}, types.AttributeValueMemberM{}, types.AttributeValueMemberBOOL{},
)
