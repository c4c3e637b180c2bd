package s3test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// verify returns the code of a refusal, or nothing if a request is signed with
// these keys, by version 4 of Amazon's signatures.
func verify(r *http.Request, access, secret string) string {
	fields, ok := strings.CutPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 ")
	if !ok {
		return "AccessDenied"
	}
	part := make(map[string]string)
	for f := range strings.SplitSeq(fields, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(f), "=")
		part[name] = value
	}
	who, scope, _ := strings.Cut(part["Credential"], "/")
	if who != access {
		return "InvalidAccessKeyId"
	}
	day, region, ok := cutScope(scope)
	if !ok {
		return "AuthorizationHeaderMalformed"
	}
	signed := strings.Split(part["SignedHeaders"], ";")
	if !slices.Contains(signed, "host") || !slices.IsSorted(signed) {
		return "AccessDenied"
	}
	var headers strings.Builder
	for _, name := range signed {
		value := strings.Join(r.Header.Values(name), ",")
		if name == "host" {
			value = r.Host
		}
		fmt.Fprintf(&headers, "%s:%s\n", name, strings.Join(strings.Fields(value), " "))
	}
	canonical := strings.Join([]string{
		r.Method, r.URL.EscapedPath(), strings.ReplaceAll(sortedQuery(r.URL), "+", "%20"),
		headers.String(), part["SignedHeaders"], r.Header.Get("X-Amz-Content-Sha256"),
	}, "\n")
	sum := sha256.Sum256([]byte(canonical))
	text := strings.Join([]string{"AWS4-HMAC-SHA256", r.Header.Get("X-Amz-Date"), scope, hex.EncodeToString(sum[:])}, "\n")
	key := []byte("AWS4" + secret)
	for _, s := range []string{day, region, "s3", "aws4_request"} {
		key = mac(key, s)
	}
	if got, err := hex.DecodeString(part["Signature"]); err != nil || !hmac.Equal(got, mac(key, text)) {
		return "SignatureDoesNotMatch"
	}
	return ""
}

func cutScope(scope string) (day, region string, ok bool) {
	parts := strings.Split(scope, "/")
	if len(parts) != 4 || parts[2] != "s3" || parts[3] != "aws4_request" {
		return "", "", false
	}
	return parts[0], parts[1], true
}

func sortedQuery(u *url.URL) string { return u.Query().Encode() }

func mac(key []byte, s string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(s))
	return h.Sum(nil)
}
