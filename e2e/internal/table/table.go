// Package table is the table of clusters' weights, in a server that speaks the protocol of DynamoDB. People write into it as they do with the AWS CLI.
package table

import (
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/penstock-dev/penstock/e2e/internal/process"
)

// Name is the table's. It is not the default, so that a controller which does not look at its flag finds no table.
const Name = "weights-of-clusters"

const (
	key = "ClusterName"

	startTimeout = 30 * time.Second
)

// Table is a table in a server of its own, which forgets it when it ends. Use [Start].
type Table struct {
	// URL is where the server is.
	URL string

	client  *dynamodb.Client
	process *process.Process
}

// Start starts a server, which is a program of `make dynamodb`, and makes the table as docs/dynamodb-table.yaml does. The caller must Close it.
func Start(ctx context.Context, program string, log io.Writer) (*Table, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("look for a port: %w", err)
	}
	address := listener.Addr().(*net.TCPAddr) //nolint:forcetypeassert // of a TCP listener
	if err := listener.Close(); err != nil {
		return nil, fmt.Errorf("look for a port: %w", err)
	}
	p, err := process.Start(process.Options{Log: log}, program, "--host", address.IP.String(), "--port", strconv.Itoa(address.Port))
	if err != nil {
		return nil, err
	}
	t := &Table{URL: "http://" + address.String(), process: p}
	t.client = dynamodb.New(dynamodb.Options{
		BaseEndpoint: &t.URL, Region: "eu-west-1",
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "people", SecretAccessKey: "secret"}, nil
		}),
	})
	if err := t.create(ctx); err != nil {
		t.Close()
		return nil, fmt.Errorf("%s: %w", program, err)
	}
	return t, nil
}

// create makes the table as soon as the server answers.
func (t *Table) create(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	_, err := t.client.CreateTable(ctx, &dynamodb.CreateTableInput{
		TableName: aws.String(Name), BillingMode: types.BillingModePayPerRequest,
		AttributeDefinitions: []types.AttributeDefinition{{AttributeName: aws.String(key), AttributeType: types.ScalarAttributeTypeS}},
		KeySchema:            []types.KeySchemaElement{{AttributeName: aws.String(key), KeyType: types.KeyTypeHash}},
	}, func(o *dynamodb.Options) {
		o.Retryer = retry.NewStandard(func(o *retry.StandardOptions) {
			o.MaxAttempts, o.MaxBackoff, o.RateLimiter = 1000, 100*time.Millisecond, ratelimit.None
		})
	})
	if err != nil {
		return fmt.Errorf("create table %s: %w", Name, err)
	}
	return nil
}

// Close ends the server.
func (t *Table) Close() { t.process.Kill() }

// Desire writes a cluster's DesiredWeight, whatever the row is.
func (t *Table) Desire(ctx context.Context, cluster string, weight int) error {
	_, err := t.client.UpdateItem(ctx, &dynamodb.UpdateItemInput{
		TableName: aws.String(Name), Key: row(cluster), UpdateExpression: aws.String("SET DesiredWeight = :w"),
		ExpressionAttributeValues: map[string]types.AttributeValue{":w": &types.AttributeValueMemberN{Value: strconv.Itoa(weight)}},
	})
	if err != nil {
		return fmt.Errorf("write DesiredWeight %d of cluster %s: %w", weight, cluster, err)
	}
	return nil
}

// Row returns the attributes of a cluster's row, each as text; none if there is no row.
func (t *Table) Row(ctx context.Context, cluster string) (map[string]string, error) {
	out, err := t.client.GetItem(ctx, &dynamodb.GetItemInput{TableName: aws.String(Name), Key: row(cluster), ConsistentRead: aws.Bool(true)})
	if err != nil {
		return nil, fmt.Errorf("read the row of cluster %s: %w", cluster, err)
	}
	text := map[string]string{}
	for name, value := range out.Item {
		switch v := value.(type) {
		case *types.AttributeValueMemberN:
			text[name] = v.Value
		case *types.AttributeValueMemberS:
			text[name] = v.Value
		default:
			return nil, fmt.Errorf("row of cluster %s: %s is a %T", cluster, name, value)
		}
	}
	return text, nil
}

func row(cluster string) map[string]types.AttributeValue {
	return map[string]types.AttributeValue{key: &types.AttributeValueMemberS{Value: cluster}}
}
