package kustomize

import (
	"bytes"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"

	"plumb.dev/plumb/render"
)

// largestEncrypted is the largest file that is looked at as one of mappings.
const largestEncrypted = 1 << 20

// encryptedFile reports whether SOPS has encrypted a file, in any of the
// formats that it knows.
func encryptedFile(b []byte) bool {
	if !bytes.Contains(b, []byte("sops")) || !bytes.Contains(b, []byte("ENC[AES256_GCM,")) {
		return false
	}
	var mac, modified, section bool
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") {
			section = line == "[sops]"
		}
		key, _, ok := strings.Cut(line, "=")
		key = strings.TrimSpace(key)
		mac = mac || ok && (key == "sops_mac" || section && key == "mac")
		modified = modified || ok && (key == "sops_lastmodified" || section && key == "lastmodified")
	}
	if mac && modified {
		return true
	}
	var m map[string]any
	return len(b) <= largestEncrypted && yaml.Unmarshal(b, &m) == nil && render.Encrypted(m)
}

// secretData is data, for a Secret.
func (v *surveyor) secretData(k *kustomization, source string) (string, extent, error) {
	handed, e, err := v.data(k, source)
	return handed, e, v.readable(k, pathOf(source), err)
}

// secretEnv is env, for a Secret.
func (v *surveyor) secretEnv(k *kustomization, p string) (string, extent, error) {
	handed, e, err := v.env(k, p)
	return handed, e, v.readable(k, p, err)
}

// readable refuses a file that has to be decrypted before a Secret is made of
// it. A ConfigMap may hand it to whoever decrypts it.
func (v *surveyor) readable(k *kustomization, p string, err error) error {
	if err != nil {
		return err
	}
	name, err := v.file(k, p)
	if name == "" || err != nil {
		return err
	}
	b, err := v.src.load(name)
	if err != nil || !encryptedFile(b) {
		return err
	}
	return render.Stall(render.DecryptionUnsupported, "", fmt.Errorf("%s: file %q is encrypted by SOPS, and this version of plumb does not decrypt", k.at(p), p))
}
