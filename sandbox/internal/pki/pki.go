// Package pki makes the keys and certificates of one cluster.
//
// [Ensure] promises that a folder which already holds them keeps them as they
// are, so that a cluster that starts again still accepts its old clients and
// tokens. Private keys are readable by their owner only.
package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// lifetime is how long a certificate is valid. A sandbox has no renewal.
const lifetime = 10 * 365 * 24 * time.Hour

// A Leaf is a certificate to be signed. One with hosts is a server's, one
// without is a client's.
type Leaf struct {
	Name  string   // the file name, without extension
	CA    string   // the authority that signs it
	User  string   // the common name
	Group string   // the organization, which Kubernetes reads as a group
	Hosts []string // names and addresses of a server
}

// Ensure fills dir with what is missing of the authorities, the leaves and
// the key pairs (a private key NAME.key and a public key NAME.pub).
func Ensure(dir string, authorities []string, leaves []Leaf, keyPairs []string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, name := range authorities {
		if err := once(dir, name+".crt", func() error { return makeAuthority(dir, name) }); err != nil {
			return fmt.Errorf("certificate authority %s: %w", name, err)
		}
	}
	for _, l := range leaves {
		if err := once(dir, l.Name+".crt", func() error { return makeLeaf(dir, l) }); err != nil {
			return fmt.Errorf("certificate %s: %w", l.Name, err)
		}
	}
	for _, name := range keyPairs {
		if err := once(dir, name+".pub", func() error { return makeKeyPair(dir, name) }); err != nil {
			return fmt.Errorf("key pair %s: %w", name, err)
		}
	}
	return nil
}

// once calls create unless the file is there. The file is the one that create
// writes last, so an interrupted creation is done again.
func once(dir, file string, create func() error) error {
	_, err := os.Stat(filepath.Join(dir, file))
	if errors.Is(err, fs.ErrNotExist) {
		return create()
	}
	return err
}

func makeAuthority(dir, name string) error {
	key, err := newKey()
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "plumb-sandbox " + name},
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	return sign(dir, name, template, template, key, key)
}

func makeLeaf(dir string, l Leaf) error {
	ca, err := tls.LoadX509KeyPair(filepath.Join(dir, l.CA+".crt"), filepath.Join(dir, l.CA+".key"))
	if err != nil {
		return err
	}
	key, err := newKey()
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: l.User},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if l.Group != "" {
		template.Subject.Organization = []string{l.Group}
	}
	if len(l.Hosts) > 0 {
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	}
	for _, host := range l.Hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	return sign(dir, l.Name, template, ca.Leaf, key, ca.PrivateKey)
}

// sign writes NAME.key and then NAME.crt.
func sign(dir, name string, template, parent *x509.Certificate, key *ecdsa.PrivateKey, by crypto.PrivateKey) error {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return err
	}
	template.SerialNumber = serial
	template.NotBefore = time.Now().Add(-time.Hour) // for clients whose clock is behind
	template.NotAfter = template.NotBefore.Add(lifetime)
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), by)
	if err != nil {
		return err
	}
	if err := writeKey(dir, name, key); err != nil {
		return err
	}
	return writePEM(dir, name+".crt", 0o644, "CERTIFICATE", der)
}

func makeKeyPair(dir, name string) error {
	key, err := newKey()
	if err != nil {
		return err
	}
	if err := writeKey(dir, name, key); err != nil {
		return err
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return err
	}
	return writePEM(dir, name+".pub", 0o644, "PUBLIC KEY", der)
}

func newKey() (*ecdsa.PrivateKey, error) {
	return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
}

func writeKey(dir, name string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return writePEM(dir, name+".key", 0o600, "EC PRIVATE KEY", der)
}

// writePEM makes the whole file or none.
func writePEM(dir, file string, mode fs.FileMode, kind string, der []byte) error {
	path := filepath.Join(dir, file)
	data := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	if err := os.WriteFile(path+".new", data, mode); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
