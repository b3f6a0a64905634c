package awsenv_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"

	"github.com/penstock-dev/penstock/internal/awsenv"
)

// A request for credentials, which the SDK sends without the caller's deadline, has one.
func TestRequestsForCredentialsEnd(t *testing.T) { //nolint:paralleltest // it sets variables
	asked := false
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked = true
		w.WriteHeader(http.StatusForbidden)
	}))
	defer server.Close()
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("token"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"AWS_REGION": "eu-west-1", "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/publisher", "AWS_WEB_IDENTITY_TOKEN_FILE": token,
		"AWS_ENDPOINT_URL_STS": server.URL, "AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_PROFILE": "",
		"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull,
	} {
		t.Setenv(name, value)
	}
	loaded, err := awsenv.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	client, ok := loaded.HTTPClient.(*awshttp.BuildableClient)
	if !ok || client.GetTimeout() != awsenv.RequestTimeout || awsenv.RequestTimeout > time.Minute {
		t.Errorf("the client %T has no limit of %s", loaded.HTTPClient, awsenv.RequestTimeout)
	}
	if _, err := loaded.Credentials.Retrieve(t.Context()); err == nil || !asked {
		t.Errorf("credentials were not asked for at the endpoint of the environment (%v)", err)
	}
}
