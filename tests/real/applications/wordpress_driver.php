<?php
// WordPress at work: does business through its own functions, and says what they show, by command: one JSON line in on
// stdin, one JSON line out on stdout, as json_lines.py does it. Products are a post type of their own, whose values are post
// meta with WooCommerce's names; WooCommerce itself is not needed for that.
// Usage: php wordpress_driver.php FOLDER_OF_WORDPRESS PORT DATABASE [install]
[, $folder, $port, $database] = $argv;
foreach (['NAME' => $database, 'USER' => 'shop', 'PASSWORD' => 'shop', 'HOST' => "127.0.0.1:$port", 'CHARSET' => 'utf8mb4', 'COLLATE' => ''] as $key => $value) {
    define("DB_$key", $value);
}
foreach (['AUTH', 'SECURE_AUTH', 'LOGGED_IN', 'NONCE'] as $key) {
    define("{$key}_KEY", 'private');
    define("{$key}_SALT", 'private');
}
define('ABSPATH', "$folder/");
define('WP_HTTP_BLOCK_EXTERNAL', true);
define('DISABLE_WP_CRON', true);
if (($argv[4] ?? '') === 'install') {
    define('WP_INSTALLING', true);
}
$_SERVER += ['HTTP_HOST' => 'localhost', 'REQUEST_URI' => '/', 'SERVER_PROTOCOL' => 'HTTP/1.1', 'REQUEST_METHOD' => 'GET'];
$table_prefix = 'wp_';
require ABSPATH . 'wp-settings.php';
register_post_type('product', ['public' => true, 'supports' => ['title', 'editor', 'custom-fields']]);
register_post_type('product_variation', ['public' => false]);

function pick($conditions = []) {
    $found = get_posts($conditions + ['post_type' => 'product', 'fields' => 'ids', 'numberposts' => 500, 'post_status' => 'any', 'orderby' => 'ID']);
    return $found ? $found[mt_rand(0, count($found) - 1)] : 0;
}

function add_product($sku, $name, $price, $stock) {
    $id = wp_insert_post(wp_slash(['post_type' => 'product', 'post_status' => 'publish', 'post_title' => $name,
        'post_content' => "<p>$name — as the shop describes it</p>", 'post_name' => sanitize_title($sku)]));
    $values = ['_sku' => $sku, '_regular_price' => $price, '_price' => $price, '_manage_stock' => 'yes', '_stock' => (string) $stock, '_stock_status' => 'instock',
        '_product_attributes' => ['colour' => ['name' => 'Colour', 'value' => 'crème', 'is_variation' => 0]]];
    foreach ($values as $key => $value) {
        update_post_meta($id, $key, wp_slash($value));
    }
    return $id;
}

$business = [
    'describe' => fn() => wp_update_post(wp_slash(['ID' => pick(), 'post_content' => '<p>' . mt_rand() . ' · 日本製 \\ "quoted"</p>'])), // also a revision
    'sell' => function () {  // what a shop plugin does at checkout; the stock is the ERP's, which puts it right
        $id = pick();
        return update_post_meta($id, '_stock', (string) ((int) get_post_meta($id, '_stock', true) - mt_rand(1, 3)));
    },
    'status' => fn() => update_post_meta(pick(), '_stock_status', mt_rand(0, 1) ? 'instock' : 'outofstock'),
    'wrongly_rename' => fn() => wp_update_post(wp_slash(['ID' => pick(), 'post_title' => 'as the shop would have it'])),
    'wrongly_lower' => fn() => update_post_meta(pick(), '_price', '0.01'),
    'wrongly_trash' => fn() => (bool) wp_trash_post(pick()),
    'new_page' => fn() => wp_insert_post(['post_type' => 'page', 'post_status' => 'publish', 'post_title' => 'About ' . mt_rand()]),
];

function products() {
    $found = [];
    foreach (get_posts(['post_type' => ['product', 'product_variation'], 'numberposts' => -1, 'post_status' => ['any', 'trash']]) as $post) {
        $sku = get_post_meta($post->ID, '_sku', true);
        if ($sku !== '') {
            $found[$sku] = ['name' => $post->post_title, 'description' => $post->post_content, 'active' => $post->post_status === 'publish',
                'price' => get_post_meta($post->ID, '_price', true), 'regular' => get_post_meta($post->ID, '_regular_price', true),
                'stock' => get_post_meta($post->ID, '_stock', true), 'meta_count' => count(get_post_meta($post->ID, '_price'))];
        }
    }
    return $found ?: new stdClass();
}

$commands = [
    'install' => function ($products) {
        require ABSPATH . 'wp-admin/includes/upgrade.php';
        wp_install('Nordlicht', 'admin', 'admin@example.invalid', true, '', 'private');
        update_option('timezone_string', 'Europe/Berlin');
        foreach ($products as $product) {
            add_product(...$product);
        }
        return count($products);
    },
    'business' => function ($seed = null) use ($business) {
        if ($seed !== null) {
            mt_srand($seed);
        }
        $name = array_keys($business)[mt_rand(0, count($business) - 1)];
        wp_cache_flush();
        return $name . ' ' . json_encode($business[$name]());
    },
    'set' => function ($sku, $key, $value) {
        wp_cache_flush();
        return update_post_meta(pick(['meta_key' => '_sku', 'meta_value' => $sku]), $key, $value);
    },
    'products' => function () {
        wp_cache_flush();
        return products();
    },
];
echo json_encode(['ok' => true, 'result' => 'ready']), "\n";
while (($line = fgets(STDIN)) !== false) {
    $command = json_decode($line, true);
    try {
        $answer = ['ok' => true, 'result' => $commands[$command['do']](...$command['with'])];
    } catch (Throwable $error) {
        $answer = ['ok' => false, 'refused' => null, 'why' => (string) $error];
    }
    echo json_encode($answer, JSON_UNESCAPED_UNICODE), "\n";
    flush();
}
