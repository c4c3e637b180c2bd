{
  name: 'guestbook',
  image: 'registry.example.com/guestbook:v5',
  port: 8080,
}
